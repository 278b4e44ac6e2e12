//! io_uring file streams into registered buffers that a GPU may also map.

//! The ring protocol executed by host threads: the oracle, and the engine without a GPU.

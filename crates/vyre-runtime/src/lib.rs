//! One runtime over the resident kernel: tickets, resources, streams.

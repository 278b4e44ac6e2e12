//! Hash files on a resident GPU kernel, and look into the devices that could run it.
fn main() {}

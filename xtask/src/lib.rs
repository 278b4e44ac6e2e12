//! The project's own commands, one module each.

mod abi;
pub mod bundle;
pub mod ci;
pub mod custom;
pub mod fuzz;
mod pieces;
mod process;
mod provision;
pub mod rivals;
pub mod shaders;
pub mod soak;
pub mod suite;
pub mod tidy;

//! What crosses between the kernel programs and user space: bytes, questions and counters.
//!
//! Everything here is integers and byte arrays without holes, because user space treats what
//! comes out of a ring as hostile and the programs run where no allocator and no panic exist.
#![no_std]

pub mod ask;
pub mod filter;
pub mod loss;
pub mod wire;

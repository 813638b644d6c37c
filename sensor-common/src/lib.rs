//! What crosses.
#![no_std]

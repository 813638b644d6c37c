//! What programs note for those that run after them, and what user space notes for them.

use core::ptr;

use super::{add, slot};
use crate::map::{DOUBTED, KNOWN, KNOWN_MOST, NESTED, NOTED, NOTES, PREEMPTED, QUIET};

/// What a thread does, as the number of a change: no other has it at the time. No socket's has the highest bit.
#[inline(always)]
pub fn of_thread<const KIND: u16>(thread: u32) -> u64 {
    const { assert!(KIND < 16) };
    1 << 63 | u64::from(thread) << 4 | u64::from(KIND)
}

/// Notes that this kernel takes the processor from programs: user space then has others run after them.
#[inline(always)]
pub fn preempted() {
    if let Some(noted) = PREEMPTED.get_ptr_mut(0) {
        // SAFETY: a map's value, never freed; any number is a `u32`, and no reference is made to it.
        unsafe {
            // Written once: all processors look at it.
            if ptr::read_volatile(noted) == 0 {
                ptr::write_volatile(noted, 1);
            }
        }
    }
}

/// Notes on this processor that a change was told, for the program that runs after the one that told it.
#[inline(always)]
pub fn note(change: u64) {
    if let Some(noted) = slot(&NOTED, (change >> 4) as u32 & (NOTES - 1)) {
        // SAFETY: a map value of this CPU. Volatile, as an interrupt writes it.
        unsafe { ptr::write_volatile(noted, change) };
    }
}

/// Takes a note away; without one the change wasn't told, which is counted in this place of `NESTED`.
#[inline(always)]
pub fn unnoted(change: u64, place: u16) -> bool {
    let Some(noted) = slot(&NOTED, (change >> 4) as u32 & (NOTES - 1)) else { return false };
    // SAFETY: as above.
    unsafe {
        if ptr::read_volatile(noted) == change {
            ptr::write_volatile(noted, 0);
            return false;
        }
    }
    if let Some(told) = slot(&NESTED, u32::from(place)) {
        add(told, 1);
    }
    true
}

/// Whether a file was executed before; it was from now on. Another that takes its place makes it forgotten.
#[inline(always)]
pub fn known(file: [u64; 3]) -> bool {
    let mixed = (file[0] ^ file[1].rotate_left(32) ^ file[2]).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let Some(place) = KNOWN.get_ptr_mut((mixed >> 32) as u32 & (KNOWN_MOST - 1)) else { return false };
    // SAFETY: a map's value, any bytes of which are numbers; no reference is made to it. Should another CPU write it
    // meanwhile, its words are those of no file.
    unsafe {
        if ptr::read_volatile(place) == file {
            return true;
        }
        ptr::write_volatile(place, file);
    }
    false
}

/// Notes that a socket is there, if that is asked.
#[inline(always)]
pub fn confirm(cookie: u64) {
    if let Some(there) = DOUBTED.get_ptr_mut(cookie) {
        // SAFETY: a map's value, any bytes of which are a number; no reference is made to it.
        unsafe { ptr::write_volatile(there, 1) };
    }
}

/// Whether the reader sleeps long, which is over for the others with that. Two may both be told so:
/// one wake-up too many.
#[inline(always)]
pub fn end_of_quiet() -> bool {
    let Some(quiet) = QUIET.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: a map value, never freed while the program runs; any number is a `u32`, and no reference
    // is made to it.
    unsafe {
        if ptr::read_volatile(quiet) == 0 {
            return false;
        }
        ptr::write_volatile(quiet, 0);
    }
    true
}

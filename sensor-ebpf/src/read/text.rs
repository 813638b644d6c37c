//! The text at the end of a record, and paths that are only looked at.

use core::{ffi::c_void, hint::black_box, ptr};

use aya_ebpf::helpers::generated as helper;
use sensor_common::wire::{
    MAX_ARGS, MAX_RECORD, TEXT,
    name::{HASH_START, hash_step},
};

use super::slot;
use crate::map::{Big, PATH};

/// Last place where a piece of text may begin.
const LAST: u32 = (MAX_RECORD - TEXT - 4096 - 8) as u32;

/// Where the text goes on.
///
/// Kept in memory and read anew each time: to the verifier it is then any number, and the paths
/// through a loop that moves it stay the same path. In a register each way through would be
/// another one, and a million steps are not enough.
#[inline(always)]
pub fn cursor(big: &Big) -> u32 {
    // SAFETY: a live field; volatile for the reason above.
    unsafe { ptr::read_volatile(&raw const big.cursor) }
}

/// Sets where the text goes on.
#[inline(always)]
pub fn set_cursor(big: &mut Big, at: u32) {
    // SAFETY: a live field; volatile for the reason at `cursor`.
    unsafe { ptr::write_volatile(&raw mut big.cursor, at) }
}

/// Appends a kernel string of at most `N` bytes with its NUL to the text; false when it isn't
/// readable or there is no room.
#[inline(always)]
pub fn append<const N: usize>(big: &mut Big, address: u64) -> bool {
    const { assert!(N <= 4096) };
    let at = cursor(big);
    if at > LAST {
        return false;
    }
    // SAFETY: `at` + N is inside the text, as checked; the helper writes at most N bytes.
    let written = unsafe {
        helper::bpf_probe_read_kernel_str(
            big.record.text.as_mut_ptr().add(at as usize).cast(),
            N as u32,
            address as *const c_void,
        )
    };
    if written <= 0 {
        return false;
    }
    set_cursor(big, at.wrapping_add(written as u32));
    true
}

/// Copies `len` bytes of user memory to the start of the text; false when not all were there.
#[inline(always)]
pub fn user_args(big: &mut Big, address: u64, len: u32) -> bool {
    let len = black_box(len);
    if len as usize > MAX_ARGS {
        return false;
    }
    // SAFETY: the text is longer than MAX_ARGS; the helper writes at most `len` bytes.
    unsafe {
        helper::bpf_probe_read_user(big.record.text.as_mut_ptr().cast(), len, address as *const c_void) == 0
    }
}

/// A byte of the text, 0 outside.
#[inline(always)]
pub fn text_byte(big: &Big, at: u32) -> u8 {
    let at = black_box(at);
    if at > LAST {
        return 0;
    }
    // SAFETY: `at` is inside the text, as checked.
    unsafe { *big.record.text.as_ptr().add(at as usize) }
}

/// Where the path of a call comes from.
#[derive(Clone, Copy)]
pub enum From {
    User,
    Kernel,
}

/// The hashes of a path's last component and of the one before, as they were given; none when it can't be read.
#[inline(always)]
pub fn last_components(from: From, address: u64) -> Option<[u32; 2]> {
    let path = slot(&PATH, 0)?;
    let size = path.len() as u32;
    let into: *mut c_void = path.as_mut_ptr().cast();
    // SAFETY: the helpers write at most `size` bytes into the buffer of that size.
    let read = unsafe {
        match from {
            From::User => helper::bpf_probe_read_user_str(into, size, address as *const c_void),
            From::Kernel => helper::bpf_probe_read_kernel_str(into, size, address as *const c_void),
        }
    };
    if read <= 0 {
        return None;
    }
    Some(hash_tail(path, read as u32 - 1))
}

/// Hashes of what follows the last slash in the last 255 bytes before `end`, and of what stands before it.
#[inline(always)]
fn hash_tail(path: &[u8; 4096], end: u32) -> [u32; 2] {
    let first = end.saturating_sub(255);
    let (mut hash, mut parent) = (HASH_START, HASH_START);
    for step in 0..255_u32 {
        let at = first + step;
        if at >= end {
            break;
        }
        let byte = path[(black_box(at) & 4095) as usize];
        if byte == b'/' {
            parent = hash;
            hash = HASH_START;
        } else {
            hash = hash_step(hash, byte);
        }
    }
    [hash, parent]
}

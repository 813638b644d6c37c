//! Nobody else on this processor while a program is under way.

use core::{arch::asm, mem::offset_of};

use sensor_common::ask::{Ask, CALLED};

/// As long as it lives, no other task gets this processor.
///
/// The kernel takes the processor away also from a program at the end of a function, and since Linux 7.0 from one at a
/// tracepoint, and skips the same program for whoever gets it then: an execution or an end that nobody tells.
#[must_use = "another task may get the processor as soon as it is dropped"]
pub struct Alone(());

/// Begins it: the first of each program that the kernel skips while it is under way on that processor. Where the kernel has no
/// function for it, none is called.
#[inline(always)]
pub fn alone() -> Alone {
    call::<{ offset_of!(Ask, calls.preempt_disable) }>();
    Alone(())
}

impl Drop for Alone {
    #[inline(always)]
    fn drop(&mut self) {
        call::<{ offset_of!(Ask, calls.preempt_enable) }>();
    }
}

/// Calls the kernel's function whose number is the word at this place of `Ask`: of this instruction user space makes the
/// call, or nothing.
#[inline(always)]
fn call<const AT: usize>() {
    // SAFETY: a call changes these registers alone, and the two functions that are called this way no memory of ours.
    unsafe {
        asm!(
            "call {function}",
            function = const CALLED | AT as u32,
            out("r0") _,
            out("r1") _,
            out("r2") _,
            out("r3") _,
            out("r4") _,
            out("r5") _,
        );
    }
}

//! Programs with larger and larger arguments, up to what the kernel takes.

use std::ffi::CString;

use nix::sys::wait::waitpid;

use super::super::lab::Program;
use super::super::{Report, failed};
use super::Bench;
use super::growth::{Growth, Series};
use super::point::{self, NAMES};
use crate::error::Result;
use crate::say;

/// Bytes of all arguments. The last is nearly all that the kernel takes where the stack may be 8 MiB.
const SIZES: [u32; 7] = [64, 512, 4096, 16_384, 131_072, 524_288, 2_000_000];
/// Bytes of one argument, at most: the kernel takes 128 KiB.
const ONE: u32 = 100_000;
/// The program that reads them.
const HOOKS: &[&str] = &["sched_process_exec"];

/// Measures it.
pub(super) fn run(bench: &mut Bench<'_>, report: &mut Report) -> Result<()> {
    let count = (bench.args.spawns / 5).max(50);
    let title = format!(
        "bytes of the arguments of each of {count} processes; a record carries 16,384 of them; CPU µs: of its three events\n{NAMES}"
    );
    let mut series = Series::new("bytes of arguments", title);
    let program = Program::at(&bench.program)?;
    for size in bench.args.wanted(&SIZES) {
        say(&format!("{size} bytes of arguments"));
        let arguments = arguments(size);
        let mut storm = || {
            for _ in 0..count {
                waitpid(program.spawn_with(&arguments)?, None).map_err(failed("wait for a program"))?;
            }
            Ok(u64::from(count))
        };
        let point = bench.point(HOOKS, &mut storm)?;
        series.add(size, &point.costs(), point.lost);
    }
    let growths =
        [(point::CPU, Growth::Linear), (point::RUN, Growth::Linear), (point::RESIDENT, Growth::Flat)];
    series.tables(&growths).into_iter().for_each(|table| report.add(table));
    Ok(())
}

/// So many bytes, each argument with its NUL.
fn arguments(bytes: u32) -> Vec<CString> {
    let mut left = bytes;
    let mut arguments = Vec::new();
    while left > 0 {
        let one = left.min(ONE);
        let text: Vec<u8> = (1..one).map(|at| b'a' + (at % 26) as u8).collect();
        // Letters have no NUL among them.
        arguments.extend(CString::new(text));
        left -= one;
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_as_large_as_they_say() {
        for size in SIZES {
            let bytes: usize = arguments(size).iter().map(|one| one.as_bytes_with_nul().len()).sum();
            assert_eq!(bytes, size as usize);
        }
    }
}

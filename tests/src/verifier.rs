//! What the kernel's verifier says of each program, asked while the sensor as it is shipped loads them.
//!
//! Between the sensor and the kernel stands a debugger: it has each load leave the verifier's statistics, which every
//! kernel since Linux 5.2 has, in unused room of the sensor's stack.

use crate::program::{actor, nest};
use crate::sensor::binary;
use crate::{DEADLINE, patience, words};
use nix::errno::Errno;
use nix::libc::{SYS_bpf, user_regs_struct};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

/// A command of `bpf(2)` and the verifier's word for its statistics (`include/uapi/linux/bpf.h`,
/// `include/linux/bpf_verifier.h`).
const BPF_PROG_LOAD: u64 = 5;
const BPF_LOG_STATS: u32 = 4;
/// Where `union bpf_attr` has what is said of the verifier's log, the program's name, and its types.
const LOG_LEVEL: usize = 24;
const NAME: usize = 48;
const TYPES: usize = 72;
const ATTRIBUTE: usize = 76;
/// Room for the statistics, and how far below the stack's end it begins: what is nearer may be in use.
const LOG: usize = 8192;
const BELOW: u64 = 65536;

/// A program that was handed to the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// Its name as the kernel has it: the first 15 bytes.
    pub program: String,
    /// How many instructions the verifier went through; none when it refused the program.
    pub instructions: Option<u64>,
    /// How long the call took.
    pub took: Duration,
}

/// What the kernel said to each program that the sensor loads for these arguments.
#[must_use]
#[expect(clippy::zombie_processes, reason = "`follow` waits for it, as who traces must")]
pub fn loads(args: Vec<OsString>) -> Vec<Load> {
    let mut called = words![binary()];
    called.extend(args);
    let mut words = words!["traced", SYS_bpf.to_string(), BPF_PROG_LOAD.to_string()];
    words.extend(nest("exec", called));
    let mut command = Command::new(actor());
    let child = command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let sensor = Pid::from_raw(i32::try_from(child.id()).unwrap());
    // Who traces waits for nothing else: another ends a sensor that hangs.
    let (done, ended) = channel::<()>();
    let guard = thread::spawn(move || {
        if ended.recv_timeout(patience(4 * DEADLINE)).is_err() {
            let _ = kill(sensor, Signal::SIGKILL);
        }
    });
    let loads = follow(sensor);
    let _ = done.send(());
    guard.join().unwrap();
    loads
}

/// Follows the sensor from its execution to its end.
fn follow(sensor: Pid) -> Vec<Load> {
    assert_eq!(waitpid(sensor, None), Ok(WaitStatus::Stopped(sensor, Signal::SIGTRAP)), "no execution");
    let options =
        [Options::PTRACE_O_TRACESECCOMP, Options::PTRACE_O_TRACESYSGOOD, Options::PTRACE_O_EXITKILL];
    ptrace::setoptions(sensor, options.into_iter().collect()).unwrap();
    let memory = File::options().read(true).write(true).open(format!("/proc/{sensor}/mem")).unwrap();
    let (mut loads, mut asked, mut deliver) = (Vec::new(), None::<Asked>, None);
    loop {
        // Until a load begins, or until this one is over.
        match asked {
            None => ptrace::cont(sensor, deliver.take()).unwrap(),
            Some(_) => ptrace::syscall(sensor, deliver.take()).unwrap(),
        }
        match waitpid(sensor, None).unwrap() {
            WaitStatus::PtraceEvent(..) => asked = Asked::of(&memory, &ptrace::getregs(sensor).unwrap()),
            WaitStatus::PtraceSyscall(_) => {
                let registers = ptrace::getregs(sensor).unwrap();
                loads.extend(asked.take().map(|load| load.answer(&memory, &registers)));
            }
            WaitStatus::Stopped(_, signal) => deliver = Some(signal),
            WaitStatus::Exited(_, status) => {
                assert!([0, 4].contains(&status), "the sensor ended with status {status}");
                return loads;
            }
            WaitStatus::Signaled(_, signal, _) => panic!("the sensor ended by {signal}"),
            _ => {}
        }
    }
}

/// A program that is being loaded.
struct Asked {
    program: String,
    log: u64,
    began: Instant,
}

impl Asked {
    /// Has the load that begins leave the verifier's statistics, when it is of a program of ours.
    fn of(memory: &File, registers: &user_regs_struct) -> Option<Self> {
        let mut attribute = [0; ATTRIBUTE];
        memory.read_exact_at(&mut attribute, registers.rsi).unwrap();
        let word = |at: usize| u32::from_ne_bytes(attribute[at..at + 4].try_into().unwrap());
        // What has no types only tries what the kernel can do. What has a log is a second try, to hear why not.
        if word(TYPES) == 0 || word(LOG_LEVEL) != 0 {
            return None;
        }
        let log = registers.rsp - BELOW;
        memory.write_all_at(&[0; LOG], log).unwrap();
        let fields = [
            &BPF_LOG_STATS.to_ne_bytes()[..],
            &u32::try_from(LOG).unwrap().to_ne_bytes(),
            &log.to_ne_bytes(),
        ];
        memory.write_all_at(&fields.concat(), registers.rsi + LOG_LEVEL as u64).unwrap();
        let program = text(&attribute[NAME..NAME + 16]);
        Some(Self { program, log, began: Instant::now() })
    }

    fn answer(self, memory: &File, registers: &user_regs_struct) -> Load {
        let took = self.began.elapsed();
        let mut log = [0; LOG];
        memory.read_exact_at(&mut log, self.log).unwrap();
        let log = text(&log);
        let result = i64::from_ne_bytes(registers.rax.to_ne_bytes());
        let instructions =
            (result >= 0).then(|| processed(&log).unwrap_or_else(|| panic!("no statistics: {log}")));
        if instructions.is_none() {
            eprintln!("{} is refused: {}", self.program, Errno::from_raw(i32::try_from(-result).unwrap()));
        }
        Load { program: self.program, instructions, took }
    }
}

/// A text that ends with its first NUL.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

/// The number in `processed 123 insns (limit 1000000) …`.
fn processed(log: &str) -> Option<u64> {
    log.split_once("processed ")?.1.split_once(" insns")?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::processed;

    #[test]
    fn reads_what_the_verifier_says() {
        let log = "verification time 311 usec\nstack depth 96+0\nprocessed 2310 insns (limit 1000000) max_states_per_insn 3 total_states 98\n";
        assert_eq!(processed(log), Some(2310));
        assert_eq!(processed("invalid access"), None);
    }
}

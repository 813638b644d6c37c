//! A /proc that doesn't show all: mounted so (`hidepid`, `subset`), or its listing falsified on the way.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper that can't go on fails the test")]

use nix::libc::SYS_getdents64;
use nix::mount::{MsFlags, mount};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::mpsc::channel;
use tests::program::{actor, actor_at, copy, join, nest};
use tests::sensor::{binary, command};
use tests::skip::{because, skip};
use tests::{Answer, DEADLINE, Event, Folder, Running, patience, place::private_mounts, words};

/// Mounts another /proc over ours; false where the kernel has no such option.
fn mount_proc(options: &str) -> bool {
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), Some(options)).is_ok()
}

/// The sensor as nobody, from where nobody can read it.
fn as_nobody(folder: &Folder, args: &[&str]) -> Answer {
    let verb = join([words![folder.at("sensor")], args.iter().map(OsString::from).collect()]);
    Answer::of(Command::new(actor()).args(join([words!["become", "65534"], nest("exec", verb)])))
}

fn find(answer: &Answer, pid: u32) -> Option<&Event> {
    answer.rows.iter().find(|row| row.has("process.pid") && row.num("process.pid") == u64::from(pid))
}

/// Whether anybody is said to be hidden.
fn accuses(answer: &Answer) -> bool {
    let found = answer.rows.iter().filter(|row| row.has("sensor.findings"));
    found.flat_map(|row| row.texts("sensor.findings")).any(|what| what.contains("no listing of /proc"))
}

#[test]
fn who_isnt_shown_others_is_told_so() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    copy(&binary(), &folder.at("sensor"));
    let other = Running::idle(actor());
    // What becomes another's may not be looked at by that one before it executes something.
    let exec = nest("exec", words![actor_at(folder.at("own")), "say", "runs", "hang"]);
    let own = Running::of(actor(), join([words!["become", "65534"], exec]));
    own.until("runs");
    let (others, nobodys) = (other.pid(), own.pid());
    let pid = others.to_string();
    for option in ["hidepid=1", "hidepid=2"] {
        private_mounts(|| {
            assert!(mount_proc(option), "{option}");
            let answer = as_nobody(&folder, &["ps"]).status(4);
            assert!(answer.said.contains("(hidepid)"), "{}", answer.said);
            assert!(find(&answer, nobodys).is_some() && find(&answer, others).is_none());
            assert!(!accuses(&answer), "a rule is no rootkit: {:#?}", answer.rows);
            for verb in [&["inspect", &pid][..], &["files", "--pid", &pid], &["hash", &pid]] {
                let answer = as_nobody(&folder, verb).status(3);
                assert!(!answer.said.contains("there is no process"), "{verb:?}: {}", answer.said);
            }
        });
    }
    private_mounts(|| {
        assert!(mount_proc("hidepid=2"));
        let gone = as_nobody(&folder, &["inspect", "4194303"]).status(1);
        assert!(gone.said.contains("there is no process"), "{}", gone.said);
        // Root is shown all the same.
        let answer = Answer::done(&["ps"]);
        assert!(find(&answer, others).is_some() && !accuses(&answer));
    });
}

#[test]
fn a_part_of_proc_is_not_enough() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    copy(&binary(), &folder.at("sensor"));
    private_mounts(|| {
        if !mount_proc("subset=pid") {
            let _ = because("this kernel has no subset=pid");
            return;
        }
        for verb in [&["ps"][..], &["doctor"], &["lookup", "--offline", "1"], &["run"]] {
            for answer in [Answer::of(command().args(verb)), as_nobody(&folder, verb)] {
                let answer = answer.status(3);
                for word in ["/proc/sys/kernel/random/boot_id", "subset=pid", "mount -t proc"] {
                    assert!(answer.said.contains(word), "{verb:?}: {}", answer.said);
                }
                assert!(answer.rows.is_empty());
            }
        }
    });
}

/// What `ps` answers to whom every listing of a folder comes without this name: as of a rootkit in the kernel, which a
/// debugger plays here.
fn ps_without(name: &str) -> Vec<Event> {
    let exec = nest("exec", words![binary(), "ps", "--format", "json"]);
    let mut running = Running::of(actor(), join([words!["wait"], exec]));
    let sensor = Pid::from_raw(running.pid().cast_signed());
    let options = [Options::PTRACE_O_TRACESYSGOOD, Options::PTRACE_O_TRACECLONE, Options::PTRACE_O_EXITKILL];
    ptrace::seize(sensor, options.into_iter().collect()).unwrap();
    ptrace::interrupt(sensor).unwrap();
    // Who traces waits for nothing else: another ends a sensor that hangs. Each call stops it twice, so many processes take long.
    let (done, ended) = channel::<()>();
    let guard = std::thread::spawn(move || {
        if ended.recv_timeout(patience(12 * DEADLINE)).is_err() {
            let _ = kill(sensor, Signal::SIGKILL);
        }
    });
    running.go();
    let taken = falsify(sensor, name.as_bytes());
    let _ = done.send(());
    guard.join().unwrap();
    assert!(taken != 0, "nothing was taken out of a listing");
    running.rest().lines().map(|line| Event::parse(line.as_bytes()).unwrap()).collect()
}

/// Follows all its threads to the end; how often the name was taken out.
fn falsify(sensor: Pid, name: &[u8]) -> u32 {
    // Of no other thread of this program, whose children others wait for.
    let ours = Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD);
    let (mut taken, mut next) = (0, None);
    loop {
        // One that was killed meanwhile is told by the next wait.
        if let Some((thread, signal)) = next.take() {
            let _ = ptrace::syscall(thread, signal);
        }
        next = match waitpid(None, ours).unwrap() {
            WaitStatus::PtraceSyscall(thread) => {
                taken += u32::from(take_out(thread, name));
                Some((thread, None))
            }
            WaitStatus::PtraceEvent(thread, ..) => Some((thread, None)),
            WaitStatus::Stopped(thread, signal) => Some((thread, Some(signal))),
            WaitStatus::Exited(thread, status) if thread == sensor => {
                assert_eq!(status, 0, "ps ended so");
                return taken;
            }
            WaitStatus::Signaled(thread, signal, _) if thread == sensor => panic!("ps ended by {signal}"),
            _ => None,
        };
    }
}

/// Takes a name out of what a call has just listed (`struct linux_dirent64`, `getdents64(2)`).
fn take_out(thread: Pid, name: &[u8]) -> bool {
    let Ok(mut registers) = ptrace::getregs(thread) else { return false };
    let listed = usize::try_from(registers.rax.cast_signed()).unwrap_or(0);
    // Where a call begins there is an error in place of its answer.
    if registers.orig_rax.cast_signed() != SYS_getdents64 || listed == 0 {
        return false;
    }
    // Opened each time: the memory is another after an exec.
    let memory = File::options().read(true).write(true).open(format!("/proc/{thread}/mem")).unwrap();
    let mut bytes = vec![0; listed];
    memory.read_exact_at(&mut bytes, registers.rsi).unwrap();
    let (mut left, mut rest) = (Vec::new(), &*bytes);
    while rest.len() > 19 {
        let (entry, after) = rest.split_at(usize::from(u16::from_ne_bytes([rest[16], rest[17]])));
        let own = entry[19..].split(|byte| *byte == 0).next().unwrap_or_default();
        if own != name {
            left.extend_from_slice(entry);
        }
        rest = after;
    }
    if left.len() == listed {
        return false;
    }
    memory.write_all_at(&left, registers.rsi).unwrap();
    registers.rax = left.len() as u64;
    ptrace::setregs(thread, registers).unwrap();
    true
}

#[test]
fn who_is_kept_out_of_listings_is_named() {
    if skip() {
        return;
    }
    let hidden = Running::idle(actor());
    let rows = ps_without(&hidden.pid().to_string());
    let accused: Vec<&Event> = rows
        .iter()
        .filter(|row| row.has("sensor.findings"))
        .filter(|row| row.texts("sensor.findings").iter().any(|what| what.contains("no listing of /proc")))
        .collect();
    let named: Vec<u64> = accused.iter().map(|row| row.num("process.pid")).collect();
    assert_eq!(named, [u64::from(hidden.pid())], "{accused:#?}");
    assert_eq!(accused[0].num("event.severity"), 99);
    assert_eq!(accused[0].str("process.executable"), actor().to_str().unwrap());
    assert_eq!(rows[0].num("event.severity"), 99, "it stands first");
}

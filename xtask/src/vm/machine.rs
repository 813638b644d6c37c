//! One virtual machine: booted, watched, and what it said.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::GUEST;
use super::cpio::Archive;
use super::disk::BUSYBOX;
use super::kernels::Kernel;
use super::plan::{Machine, Run, length};
use super::results::sections;
use crate::command::start_error;
use crate::error::{Error, Result};
use crate::say;
use crate::setup::emulator::Emulator;

/// For a program of tests, and for a machine, by each unit of patience: ends one that hangs, measures nothing.
const PROGRAM_MOST: u64 = 150;
const MACHINE_MOST: Duration = Duration::from_secs(900);

/// What a machine is to try.
pub(super) struct Tests<'a> {
    /// The sensor's `--hooks`, if any.
    pub(super) hooks: &'a str,
    /// How many times longer than here something may take.
    pub(super) patience: u32,
    /// Whether the machine's time goes by its instructions. Then it has one processor: several that wait for each other
    /// in a loop would wait for ever.
    pub(super) steady: bool,
    /// What boots it.
    pub(super) emulator: &'a Emulator,
    /// The tests, in this order.
    pub(super) runs: &'a [Run],
}

impl Tests<'_> {
    fn processors(&self, machine: &Machine) -> u32 {
        if self.steady { 1 } else { machine.processors }
    }

    /// How many times more a machine may take: what measures nothing, and only ends one that hangs.
    fn steady_factor(&self) -> u32 {
        if self.steady { 8 } else { 1 }
    }
}

/// What came of a boot.
#[derive(Debug)]
pub(super) struct Said {
    /// On the port for results.
    pub(super) results: String,
    /// On the console.
    pub(super) console: String,
    pub(super) took: Duration,
}

/// Boots a machine from this disk, which it doesn't change, and waits for its end; its files are in `folder`.
pub(super) fn boot(
    name: &str,
    machine: &Machine,
    kernel: &Kernel,
    disk: &Path,
    folder: &Path,
    tests: &Tests<'_>,
) -> Result<Said> {
    fs::create_dir_all(folder).map_err(Error::file("make", folder))?;
    let initramfs = folder.join("initramfs");
    let bytes = archive(kernel, &plan(machine, tests))?;
    fs::write(&initramfs, bytes).map_err(Error::file("write", &initramfs))?;
    let (console, results) = (folder.join("console"), folder.join("results"));
    // What an earlier machine said is none of this one's.
    for said in [&console, &results] {
        let _: std::io::Result<()> = fs::remove_file(said);
    }
    let mut qemu = tests.emulator.command();
    qemu.args([
        "-M",
        "q35,accel=tcg",
        "-cpu",
        "max",
        "-m",
        "4096",
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
    ])
    .args(["-display", "none", "-monitor", "none", "-smp", &tests.processors(machine).to_string()])
    .arg("-kernel")
    .arg(kernel.image())
    .arg("-initrd")
    .arg(&initramfs)
    .arg("-append")
    .arg(format!("console=ttyS0 quiet loglevel=5 panic=-1 oops=panic {}", machine.append))
    .arg("-drive")
    .arg(option("file", disk, ",format=raw,if=virtio,snapshot=on"))
    .args([
        "-serial",
        &format!("file:{}", console.display()),
        "-serial",
        &format!("file:{}", results.display()),
    ])
    .stdin(Stdio::null())
    .stdout(Stdio::null());
    if tests.steady {
        // Four of the guest's nanoseconds are an instruction, whatever else the host does.
        qemu.args(["-icount", "shift=2,sleep=on"]);
    }
    let began = Instant::now();
    let mut child = qemu.spawn().map_err(start_error(&qemu))?;
    let most = MACHINE_MOST * tests.patience * tests.steady_factor();
    let ended = wait(&mut child, most, &mut Progress { name, results: &results, told: 0 });
    let read = |path: &PathBuf| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let mut said = Said {
        results: read(&results).unwrap_or_default(),
        console: read(&console).unwrap_or_default(),
        took: began.elapsed(),
    };
    if !ended {
        said.console.push_str("\nstopped: the machine took too long\n");
    }
    Ok(said)
}

/// A `name=path` of QEMU, in which a comma is doubled.
fn option(name: &str, path: &Path, rest: &str) -> String {
    format!("{name}={}{rest}", path.display().to_string().replace(',', ",,"))
}

/// Tells which files of tests have ended, while others still run.
struct Progress<'a> {
    /// What the machine is called.
    name: &'a str,
    results: &'a Path,
    /// How many sections of the results were told.
    told: usize,
}

impl Progress<'_> {
    fn tell(&mut self) {
        let Ok(said) = fs::read(self.results) else { return };
        let said = String::from_utf8_lossy(&said);
        for section in sections(&said).iter().filter(|section| section.ended()).skip(self.told) {
            self.told += 1;
            let how = if section.ended_well() { "ok" } else { "FAILED" };
            say(&format!("Linux {}: {} {how}", self.name, section.title));
        }
    }
}

/// Waits for the end of the machine, most so long; whether it came.
fn wait(child: &mut Child, most: Duration, progress: &mut Progress<'_>) -> bool {
    let began = Instant::now();
    loop {
        progress.tell();
        match child.try_wait() {
            Ok(None) if began.elapsed() < most => sleep(Duration::from_secs(1)),
            Ok(None) => {
                // It may have ended just now.
                let _: std::io::Result<()> = child.kill();
                let _: std::io::Result<_> = child.wait();
                return false;
            }
            _ => return true,
        }
    }
}

/// What the machine does, as lines of shell.
fn plan(machine: &Machine, tests: &Tests<'_>) -> String {
    let Tests { hooks, patience, runs, .. } = *tests;
    let mut plan = format!(
        "export SENSOR_BIN=/usr/bin/sensor SENSOR_PROGRAMS=/tests/programs SENSOR_NO_SKIP=1 \
         SENSOR_TESTS_PATIENCE={patience} SENSOR_TEST_HOOKS={hooks} RUST_BACKTRACE=0\ncgroups {}\n",
        machine.cgroups
    );
    let most = PROGRAM_MOST * u64::from(patience * tests.steady_factor());
    for Run { program, words } in runs {
        plan.push_str(&format!("run {program} {}", most * length(program)));
        for word in words {
            plan.push_str(&format!(" '{}'", word.replace('\'', "'\\''")));
        }
        plan.push('\n');
    }
    plan
}

/// The first root of the machine: what it takes to come to the disk.
fn archive(kernel: &Kernel, plan: &str) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "modules", "root"] {
        archive.folder(folder);
    }
    archive.device("dev/console", (5, 1));
    archive.file("bin/busybox", &read(Path::new(BUSYBOX))?);
    archive.file("init", GUEST.as_bytes());
    archive.file("plan", plan.as_bytes());
    for module in kernel.modules()? {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        archive.file(&format!("modules/{name}"), &read(&module)?);
    }
    Ok(archive.finish())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(Error::file("read", path))
}

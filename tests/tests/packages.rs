//! Packages for real: package managers install, upgrade and own what runs, on a host that only the test sees.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper that can't go on fails the test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::answer::Answer;
use tests::place::{make_folder, mount_bind, mount_overlay, mount_tmpfs, private_mounts};
use tests::program::{actor, copy, done, sha256};
use tests::sensor::{binary, command};
use tests::skip::{missing, skip};
use tests::{DEADLINE, Event, Folder, Running, Sensor, find::Source, lock, words};

/// Where a test's package has its program: each in a folder of its own, as a sensor sees the others' too.
const DEB: &str = "/opt/sensor-test-deb/agent";
const RPM: &str = "/opt/sensor-test-rpm/agent";

/// The program of that version: the same, and yet other bytes.
fn agent(folder: &Folder, version: &str) -> PathBuf {
    let path = folder.at(format!("agent-{version}"));
    copy(&actor(), &path);
    // The shell writes it, for the reason told at `copy`.
    done(Path::new("/bin/sh"), words!["-c", "echo \"$2\" >> \"$1\"", "sh", path, version]);
    path
}

/// A package of dpkg's with it.
fn deb(folder: &Folder, version: &str) -> PathBuf {
    let tree = folder.folder(format!("tree-{version}"));
    for name in ["DEBIAN", "opt", "opt/sensor-test-deb"] {
        make_folder(&tree.join(name));
    }
    let control = format!(
        "Package: sensor-test\nVersion: {version}\nArchitecture: all\nMaintainer: x <x@example.invalid>\nDescription: x\n"
    );
    fs::write(tree.join("DEBIAN/control"), control).unwrap();
    copy(&agent(folder, version), &tree.join(&DEB[1..]));
    let package = folder.at(format!("{version}.deb"));
    done(Path::new("/usr/bin/dpkg-deb"), words!["--build", "--root-owner-group", "-Znone", &tree, &package]);
    package
}

/// A package of rpm's with it.
fn rpm(folder: &Folder, version: &str) -> PathBuf {
    let (agent, top) = (agent(folder, version), folder.folder(format!("top-{version}")));
    let spec = format!(
        "Name: sensor-test\nVersion: {version}\nRelease: 1\nSummary: x\nLicense: MIT\nAutoReqProv: no\n%description\nx\n\
         %install\nmkdir -p %{{buildroot}}/opt/sensor-test-rpm\ncp {} %{{buildroot}}{RPM}\n%files\n{RPM}\n",
        agent.display()
    );
    fs::write(top.join("spec"), spec).unwrap();
    let mut build = Command::new("/usr/bin/rpmbuild");
    build.arg("-bb").arg("--dbpath").arg(top.join("db"));
    let top_is = format!("_topdir {}", top.display());
    let tmp_is = format!("_tmppath {}", top.display());
    for define in
        [&*top_is, &*tmp_is, "_build_id_links none", "debug_package %{nil}", "__os_install_post %{nil}"]
    {
        build.args(["--define", define]);
    }
    let built = tests::answer::run(build.arg(top.join("spec")));
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let made = walk(&top.join("RPMS"));
    assert_eq!(made.len(), 1, "{made:?}");
    made[0].clone()
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

/// In mounts of its own: an empty `/opt`, and dpkg's records over the host's, which stay as they are.
fn on_a_host_of_its_own(what: impl FnOnce(&Folder) + Send) {
    let folder = Folder::new();
    let [upper, work] = ["upper", "work"].map(|name| folder.at("scratch").join(name));
    make_folder(&folder.at("scratch"));
    private_mounts(|| {
        mount_tmpfs(&folder.at("scratch"), "64m");
        [&upper, &work].into_iter().for_each(|path| make_folder(path));
        let records = Path::new("/var/lib/dpkg");
        if records.exists() {
            mount_overlay(records, &upper, &work, records).unwrap();
        }
        mount_tmpfs(Path::new("/opt"), "64m");
        what(&folder);
    });
}

fn install_deb(package: &Path) {
    done(Path::new("/usr/bin/dpkg"), words!["--force-not-root", "--log=/dev/null", "-i", package]);
}

fn lookup(what: &str, status: i32) -> Event {
    let mut answer = Answer::of(command().args(["lookup", "--offline", what])).status(status);
    answer.rows.remove(0)
}

fn ps(running: &Running) -> Event {
    let answer = Answer::of(command().arg("ps"));
    let is = |row: &&Event| row.num("process.pid") == u64::from(running.pid());
    answer.rows.iter().find(is).unwrap_or_else(|| panic!("not among them: {}", answer.said)).clone()
}

/// What one process's row says of its executable: the verdict, the package and its sort, the severity.
fn told(row: &Event) -> (String, Option<String>, Option<String>, u64) {
    let severity = if row.has("event.severity") { row.num("event.severity") } else { 0 };
    let verdict = row.str("sensor.exe.verdict").to_owned();
    (verdict, row.text("package.name"), row.text("package.type"), severity)
}

fn expected(verdict: &str, sort: &str, severity: u64) -> (String, Option<String>, Option<String>, u64) {
    (verdict.to_owned(), Some("sensor-test".to_owned()), Some(sort.to_owned()), severity)
}

/// Version 1 is installed and runs; then version 2 takes its place, by the package manager itself.
fn upgrade(
    (sort, manager, path): (&str, &str, &str),
    packages: [PathBuf; 2],
    agents: [PathBuf; 2],
    install: fn(&Path),
) {
    let sensor = Sensor::start(words![]);
    let [one, two] = packages;
    let hashes = agents.map(|agent| sha256(&agent));
    install(&one);
    let old = Running::idle(path);
    assert_eq!(told(&ps(&old)), expected("present", sort, 0));
    let known = lookup(path, 0);
    assert_eq!(known.str("file.hash.sha256"), hashes[0]);
    assert_eq!(known.list("sensor.reputation.answers")[0]["source"], sort, "{known:#}");

    install(&two);
    let alert = sensor.find("exe_deleted").file(path).within(4 * DEADLINE).wait();
    let doer = (alert.str("process.executable"), alert.str("sensor.method"), alert.num("event.severity"));
    assert_eq!(doer, (manager, "replace", 21), "{alert:#}");
    assert_eq!(alert.list("sensor.runners")[0]["pid"], old.pid(), "{alert:#}");
    assert_eq!(told(&ps(&old)), expected("upgraded", sort, 21));
    let new = Running::idle(path);
    assert_eq!(told(&ps(&new)), expected("present", sort, 0));
    // Each by its own bytes: the old ones are on no record any more.
    let gone = lookup(&old.pid().to_string(), 4);
    assert_eq!(
        (gone.str("file.hash.sha256"), gone.str("sensor.reputation.verdict")),
        (&*hashes[0], "unknown")
    );
    for what in [path, &new.pid().to_string()] {
        let known = lookup(what, 0);
        let verdict = known.str("sensor.reputation.verdict");
        assert_eq!((known.str("file.hash.sha256"), verdict), (&*hashes[1], "known_good"), "{known:#}");
    }
    drop((old, new));
    // Somebody else's file under that name.
    let other = format!("{path}-other");
    copy(&actor(), Path::new(&other));
    fs::rename(other, path).unwrap();
    let changed = lookup(path, 4);
    assert_eq!(changed.str("sensor.reputation.verdict"), "suspicious", "{changed:#}");
    sensor.fence();
    let alerts = sensor.find("exe_deleted").file(path).all();
    assert_eq!(alerts.len(), 1, "one loss is told once: {alerts:#?}");
    sensor.stop().clean();
}

#[test]
fn dpkg_upgrades_what_runs() {
    if skip() || !Path::new("/usr/bin/dpkg-deb").exists() && missing("there is no dpkg") {
        return;
    }
    let _together = lock::together();
    on_a_host_of_its_own(|folder| {
        let packages = ["1", "2"].map(|version| deb(folder, version));
        let agents = ["1", "2"].map(|version| folder.at(format!("agent-{version}")));
        upgrade(("deb", "/usr/bin/dpkg", DEB), packages, agents, install_deb);
    });
}

#[test]
fn rpm_upgrades_what_runs() {
    if skip() || !Path::new("/usr/bin/rpmbuild").exists() && missing("there is no rpm") {
        return;
    }
    let _together = lock::together();
    on_a_host_of_its_own(|folder| {
        // Beside dpkg's records, which stay.
        mount_tmpfs(Path::new("/var/lib/rpm"), "16m");
        let packages = ["1", "2"].map(|version| rpm(folder, version));
        let agents = ["1", "2"].map(|version| folder.at(format!("agent-{version}")));
        let install = |package: &Path| {
            // Debian's rpm wants to be told that it is meant.
            let words = words!["--force-debian", "--dbpath", "/var/lib/rpm", "--nodeps", "-U", package];
            drop(done(Path::new("/usr/bin/rpm"), words));
        };
        upgrade(("rpm", "/usr/bin/rpm", RPM), packages, agents, install);
    });
}

#[test]
fn what_runs_elsewhere_is_of_no_package_of_this_host() {
    if skip() || !Path::new("/var/lib/dpkg/info/coreutils.list").exists() && missing("there is no dpkg") {
        return;
    }
    // In other mounts than the sensor's, under a name that a package of the host has.
    let outside = format!("/proc/{}/ns/mnt", std::process::id());
    private_mounts(|| {
        mount_bind(&actor(), Path::new("/bin/true"));
        let running = Running::idle("/bin/true");
        let ask = |words: &[&str]| {
            let mut nsenter = Command::new("nsenter");
            Answer::of(nsenter.arg(format!("--mount={outside}")).arg(binary()).args(words))
        };
        let answer = ask(&["ps"]).status(0);
        let is = |row: &&Event| row.num("process.pid") == u64::from(running.pid());
        let row = answer.rows.iter().find(is).unwrap();
        assert!(!row.has("package.name") && !row.has("package.type"), "{row:#}");
        // Neither that it is the package's, nor that it should be.
        let answer = ask(&["lookup", "--offline", &running.pid().to_string()]).status(4);
        assert_eq!(answer.rows[0].str("sensor.reputation.verdict"), "unknown", "{:#}", answer.rows[0]);
    });
}

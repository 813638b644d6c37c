//! Evidence: what loses its name while it runs is kept, and given back byte by byte; within bounds, and told where it isn't.
#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails the test")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tests::find::Source;
use tests::place::{mount_tmpfs, private_mounts};
use tests::program::{self, actor, actor_at, done, nest};
use tests::sensor::binary;
use tests::skip::skip;
use tests::{Event, Folder, Running, Sensor, lock, words};

/// A folder for evidence, and a sensor that keeps it there.
struct Scene {
    sensor: Sensor,
    folder: Folder,
    config: PathBuf,
}

impl Scene {
    fn new(more: &str) -> Self {
        Self::inside(Folder::new(), more)
    }

    fn inside(folder: Folder, more: &str) -> Self {
        let text = format!("[evidence]\nfolder = {:?}\n{more}\n", folder.at("evidence"));
        let config = folder.at("sensor.toml");
        fs::write(&config, &text).unwrap();
        Self { sensor: Sensor::with().config(&text).live(), folder, config }
    }

    /// A copy of `actor` that no other is like.
    fn image(&self, name: &str) -> PathBuf {
        image(&self.folder.at(name))
    }

    fn recover(&self, what: &str, to: &Path) -> Output {
        let mut command = Command::new(binary());
        command.args(["recover", what, "--format", "json", "--config"]).arg(&self.config);
        run(command.arg("--to").arg(to))
    }

    /// Recovers it, and checks that it is what it is to be.
    fn recovers(&self, what: &str, sha256: &str) {
        let to = self.folder.at("recovered");
        let output = self.recover(what, &to);
        assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
        let said = Event::parse(output.stdout.trim_ascii()).unwrap();
        assert_eq!(said.value("file.hash.sha256"), sha256, "{said}");
        assert_eq!(hash(&to), sha256);
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o7777, 0o600);
        fs::remove_file(&to).unwrap();
    }

    fn kept(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.at("evidence")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

/// Another process makes it, as one that is open for writing can't be executed.
fn image(path: &Path) -> PathBuf {
    let shell = "cat \"$1\" > \"$2\" && echo \"$2\" >> \"$2\" && chmod 755 \"$2\"";
    done(Path::new("/bin/sh"), words!["-c", shell, "sh", actor(), path]);
    path.to_owned()
}

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    program::output(command, Duration::from_secs(20))
}

/// What another program says that it is.
fn hash(path: &Path) -> String {
    let said = done(Path::new("/usr/bin/sha256sum"), words![path]);
    said.split_ascii_whitespace().next().unwrap().to_owned()
}

/// Runs programs that remove themselves; gives how many alerts had the file's own hash, and whose copy is what it was.
fn vanish(scene: &Scene, runs: usize, after: &str) -> usize {
    let mut files = Vec::new();
    for run in 0..runs {
        let path = scene.image(&format!("vanish-{after}-{run}"));
        let sha256 = hash(&path);
        let mut words = words!["unlink", &path];
        words.extend(program::steps(after));
        words.extend(words!["exit", "0"]);
        assert!(Running::of(&path, words).wait().success());
        files.push((path, sha256));
    }
    let right = |(path, sha256): &&(PathBuf, String)| {
        let alert = scene.sensor.find("exe_deleted").file(path).wait();
        let kept = scene.folder.at("evidence").join(sha256);
        alert.text("sensor.evidence.sha256").as_ref() == Some(sha256)
            && alert.str("sensor.evidence.path") == kept.to_str().unwrap()
            && alert.num("sensor.evidence.size") == fs::metadata(&kept).unwrap().len()
            && hash(&kept) == *sha256
    };
    files.iter().filter(right).count()
}

#[test]
fn programs_that_remove_themselves_and_end_are_kept() {
    if skip() {
        return;
    }
    let _lock = lock::together();
    let scene = Scene::new("");
    let kept = vanish(&scene, 100, "");
    assert!(kept >= 99, "{kept} of 100");
    let kept = vanish(&scene, 20, "nap 10");
    assert_eq!(kept, 20, "of those that live 10 ms");
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(scene.folder.at("evidence")), 0o700);
    for name in scene.kept() {
        assert!(!name.starts_with("tmp-"), "{name}");
        assert_eq!(mode(scene.folder.at("evidence").join(&name)) & 0o377, 0, "{name}");
    }
}

#[test]
fn what_ended_without_an_alert_is_kept_when_it_is_asked_for() {
    if skip() {
        return;
    }
    let _lock = lock::together();
    let scene = Scene::new("");
    let path = scene.image("quiet");
    let sha256 = hash(&path);
    // Another holds the file while the test takes its time.
    let other = Running::idle(&path);
    let mut running = Running::idle(&path);
    let pid = running.pid();
    let entity = scene.sensor.find("exec").pid(pid).wait().str("process.entity_id").to_owned();
    running.end();
    scene.sensor.find("exit").pid(pid).wait();
    assert_eq!(scene.kept(), [""; 0], "nothing is kept that nobody asked for");
    scene.recovers(&pid.to_string(), &sha256);
    assert!(scene.kept().contains(&sha256));
    scene.recovers(&entity, &sha256);
    let nobody = scene.recover("4194304", &scene.folder.at("recovered"));
    assert_eq!(nobody.status.code(), Some(1));
    let said = String::from_utf8_lossy(&nobody.stderr).into_owned();
    assert!(said.contains("the sensor at work doesn't know it"), "{said}");
    drop(other);
}

#[test]
fn a_deleted_program_comes_back_by_pid_entity_and_hash() {
    if skip() {
        return;
    }
    let _lock = lock::together();
    let scene = Scene::new("");
    let path = scene.image("runs-on");
    let sha256 = hash(&path);
    let mut running = Running::idle(&path);
    let pid = running.pid();
    let entity = scene.sensor.find("exec").pid(pid).wait().str("process.entity_id").to_owned();
    // While it runs and has its name, nothing is kept of it.
    for what in [&pid.to_string(), &entity, &sha256] {
        scene.recovers(what, &sha256);
    }
    fs::remove_file(&path).unwrap();
    let alert = scene.sensor.find("exe_deleted").file(&path).wait();
    assert_eq!(alert.str("sensor.evidence.sha256"), sha256);
    scene.recovers(&pid.to_string(), &sha256);
    running.end();
    scene.sensor.find("exit").pid(pid).wait();
    for what in [&pid.to_string(), &entity, &sha256, &sha256.to_uppercase()] {
        scene.recovers(what, &sha256);
    }
    let exit = scene.sensor.find("exit").pid(pid).one();
    assert_eq!(exit.str("process.hash.sha256"), sha256, "it is known by then");
}

#[test]
fn what_only_is_in_memory_is_kept() {
    if skip() {
        return;
    }
    let _lock = lock::together();
    let scene = Scene::new("");
    let source = scene.image("source");
    let step = format!("memfd hidden {}", source.display());
    let mut running = Running::of(actor(), nest(&step, words!["image", "say", "here", "wait"]));
    running.until("here");
    let pid = running.pid();
    let alert = scene.sensor.find("exe_memfd").pid(pid).wait();
    assert_eq!(alert.str("sensor.evidence.sha256"), hash(&source), "{alert:#}");
    running.end();
    scene.sensor.find("exit").pid(pid).wait();
    scene.recovers(alert.str("process.entity_id"), &hash(&source));
}

/// Executes it to its end; its pid.
fn ended(path: &Path) -> u32 {
    let mut running = Running::of(path, words!["exit", "0"]);
    assert!(running.wait().success());
    running.pid()
}

#[test]
fn a_file_that_is_executed_again_is_known() {
    if skip() {
        return;
    }
    let _lock = lock::together();
    let scene = Scene::new("");
    let path = scene.image("known");
    let sha256 = hash(&path);
    let again = || scene.sensor.find("exec").pid(ended(&path)).wait();
    again();
    scene.sensor.fence();
    // Hashing is done beside: one of the next has it.
    let known = (0..1000).map(|_| again()).find(|exec| exec.has("process.hash.sha256")).unwrap();
    assert_eq!(known.str("process.hash.sha256"), sha256);
    // Rewritten in place, it is another.
    let shell = "echo more >> \"$1\"";
    done(Path::new("/bin/sh"), words!["-c", shell, "sh", &path]);
    let changed = hash(&path);
    assert!(again().text("process.hash.sha256").is_none_or(|said| said == changed));
    let known = (0..1000).map(|_| again()).find(|exec| exec.has("process.hash.sha256")).unwrap();
    assert_eq!(known.str("process.hash.sha256"), changed);
}

/// Runs one that removes itself; gives its alert.
fn alert(scene: &Scene, name: &str) -> Event {
    let path = scene.image(name);
    assert!(Running::of(&path, words!["unlink", &path, "exit", "0"]).wait().success());
    scene.sensor.find("exe_deleted").file(&path).wait()
}

#[test]
fn what_is_held_can_be_unmounted() {
    if skip() {
        return;
    }
    let _lock = lock::together();
    let scene = Scene::new("");
    let place = scene.folder.folder("mounted");
    for run in 0..10 {
        mount_tmpfs(&place, "4m");
        let path = image(&place.join("program"));
        let pid = ended(&path);
        // Not with what is open (`MNT_DETACH`): it is to be nobody's any more, long before it is let go of otherwise.
        let deadline = Instant::now() + tests::patience(Duration::from_millis(500));
        while let Err(why) = nix::mount::umount(&place) {
            assert!(Instant::now() < deadline, "run {run}: {why}");
            std::thread::yield_now();
        }
        scene.sensor.find("exec").pid(pid).wait();
    }
}

#[test]
fn the_folder_keeps_its_bounds() {
    if skip() {
        return;
    }
    // What other tests take the names of is kept there too.
    let _lock = lock::alone();
    let size = fs::metadata(actor()).unwrap().len() + 4096;
    let scene = Scene::new(&format!("max_bytes = {}", 2 * size));
    let alerts: Vec<_> = (0..5).map(|run| alert(&scene, &format!("bound-{run}"))).collect();
    let last = alerts.last().unwrap().str("sensor.evidence.sha256");
    let images: Vec<_> = scene.kept().into_iter().filter(|name| !name.contains('.')).collect();
    assert_eq!(images.len(), 2, "{images:?}");
    assert!(images.iter().any(|image| image == last), "the last stays");
    let first = alerts.first().unwrap().str("sensor.evidence.sha256");
    let to = scene.folder.at("gone");
    let output = scene.recover(first, &to);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("evidence.max_bytes") && !to.exists());
}

#[test]
fn what_is_too_large_is_said() {
    if skip() {
        return;
    }
    let _lock = lock::together();
    let scene = Scene::new("max_file_bytes = 1000");
    let alert = alert(&scene, "large");
    assert!(alert.str("sensor.evidence.missing").contains("evidence.max_file_bytes"), "{alert:#}");
    assert!(!alert.has("sensor.evidence.sha256") && scene.kept().is_empty());
}

#[test]
fn a_full_disk_is_told_and_stops_nothing() {
    if skip() {
        return;
    }
    let _lock = lock::together();
    let folder = Folder::new();
    let small = folder.folder("small");
    private_mounts(|| {
        mount_tmpfs(&small, "64k");
        let text = format!("[evidence]\nfolder = {:?}\n", small.join("evidence"));
        let scene = Scene { sensor: Sensor::with().config(&text).live(), config: PathBuf::new(), folder };
        let alert = alert(&scene, "no-room");
        assert!(alert.str("sensor.evidence.missing").contains("could not be kept"), "{alert:#}");
        scene.sensor.find("coverage").such("the folder's row", |event| row(event, "unseen")).wait();
        assert_eq!(fs::read_dir(small.join("evidence")).unwrap().count(), 0, "nothing unfinished stays");
        scene.sensor.fence();
    });
}

fn row(event: &Event, state: &str) -> bool {
    let rows = event.list("sensor.coverage");
    rows.iter().any(|row| row["hook"] == "evidence/folder" && row["state"] == state)
}

#[test]
fn a_link_in_place_of_the_folder_is_not_followed() {
    if skip() {
        return;
    }
    let _lock = lock::together();
    let folder = Folder::new();
    let elsewhere = folder.folder("elsewhere");
    symlink(&elsewhere, folder.at("evidence")).unwrap();
    let scene = Scene::inside(folder, "");
    scene.sensor.find("coverage").such("the folder's row", |event| row(event, "unseen")).wait();
    let alert = alert(&scene, "linked");
    assert!(!alert.has("sensor.evidence.sha256"), "{alert:#}");
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    let output = scene.recover(&"0".repeat(64), &scene.folder.at("to"));
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("it is a link"));
}

#[test]
fn recover_overwrites_nothing_and_follows_no_link() {
    if skip() {
        return;
    }
    let folder = Folder::new();
    let path = actor_at(folder.at("actor"));
    let running = Running::idle(&path);
    let (precious, link) = (folder.at("precious"), folder.at("link"));
    fs::write(&precious, "precious").unwrap();
    symlink(&precious, &link).unwrap();
    let recover = |what: &str, words: &[&str]| {
        let mut command = Command::new(binary());
        run(command.args(["recover", what, "--to"]).args(words).current_dir(folder.path())).status.code()
    };
    let pid = running.pid().to_string();
    assert_eq!(recover(&pid, &["precious"]), Some(1));
    assert_eq!(recover(&pid, &["link"]), Some(1));
    assert_eq!(recover(&pid, &["link", "--force"]), Some(0));
    assert_eq!(fs::read(&precious).unwrap(), b"precious");
    assert_eq!(hash(&link), hash(&path));
    assert_eq!(recover("nobody", &["new"]), Some(2));
    assert_eq!(recover("4194304999", &["new"]), Some(1), "nobody has this pid");
    assert!(!folder.at("new").exists());
}

#[test]
fn who_executes_can_be_stopped_until_it_is_held() {
    if skip() {
        return;
    }
    let _lock = lock::together();
    let folder = Folder::new();
    let text = format!("[evidence]\nfolder = {:?}\n", folder.at("evidence"));
    let start = Sensor::with().config(&text).args(words!["--freeze-on-delete"]);
    let scene = Scene { sensor: start.live(), config: PathBuf::new(), folder };
    assert_eq!(vanish(&scene, 50, ""), 50);
    // What waits goes on when the sensor is killed.
    let path = scene.image("waits");
    scene.sensor.signal(nix::sys::signal::Signal::SIGSTOP);
    let waiting = std::thread::spawn(move || Running::of(&path, words!["exit", "0"]).wait().success());
    scene.sensor.signal(nix::sys::signal::Signal::SIGKILL);
    assert!(waiting.join().unwrap());
}

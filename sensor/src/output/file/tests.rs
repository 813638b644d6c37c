//! The file as others find it.

use super::*;
use std::{
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("sensor-output-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn output(path: &Path, more: &str) -> File {
    let config: config::File = toml::from_str(&format!("path = {path:?}\n{more}")).unwrap();
    File::new(&config)
}

fn parcel(bytes: &str, time: i64) -> Parcel<'_> {
    Parcel { id: "1", time, action: "exec", severity: 0, host: "h", bytes: bytes.as_bytes() }
}

fn bring(output: &mut File, lines: &[&str]) -> Result<Vec<Fate>, FarError> {
    output.bring(&lines.iter().map(|line| parcel(line, 0)).collect::<Vec<_>>())
}

#[test]
fn lines_are_appended_to_a_file_that_others_do_not_read() {
    let folder = Folder::new("append");
    let path = folder.0.join("new/events");
    assert_eq!(bring(&mut output(&path, ""), &["a", "b"]).unwrap(), [Fate::Arrived, Fate::Arrived]);
    bring(&mut output(&path, ""), &["c"]).unwrap();
    assert_eq!(folder.read("new/events"), "a\nb\nc\n");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn what_was_torn_is_cut_off() {
    let folder = Folder::new("torn");
    let path = folder.0.join("events");
    fs::write(&path, "whole\nto").unwrap();
    bring(&mut output(&path, ""), &["torn"]).unwrap();
    assert_eq!(folder.read("events"), "whole\ntorn\n");
}

#[test]
fn traps_are_not_written_to() {
    let folder = Folder::new("traps");
    let (path, other) = (folder.0.join("events"), folder.0.join("other"));
    let refused = |what: &str| {
        let error = bring(&mut output(&path, ""), &["x"]).unwrap_err();
        assert!(error.attempted.contains("opening"), "{what}: {error}");
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
    };
    fs::write(&other, "mine\n").unwrap();
    symlink(&other, &path).unwrap();
    refused("a link");
    fs::hard_link(&other, &path).unwrap();
    refused("another name of a file");
    fs::create_dir(&path).unwrap();
    refused("a folder");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    refused("a pipe");
    assert_eq!(folder.read("other"), "mine\n");
}

#[test]
fn two_do_not_write_to_one_file() {
    let folder = Folder::new("two");
    let path = folder.0.join("events");
    let (mut one, mut two) = (output(&path, ""), output(&path, ""));
    bring(&mut one, &["a"]).unwrap();
    assert!(bring(&mut two, &["b"]).unwrap_err().source.to_string().contains("another program"));
    drop(one);
    bring(&mut two, &["b"]).unwrap();
    assert_eq!(folder.read("events"), "a\nb\n");
}

#[test]
fn files_are_put_aside_by_size_and_the_oldest_go() {
    let folder = Folder::new("size");
    let path = folder.0.join("events");
    let mut output = output(&path, "max_bytes = 65536\nkeep = 2");
    let lines: Vec<String> = (0..8).map(|n| n.to_string().repeat(40_000)).collect();
    let load: Vec<_> = lines.iter().map(|line| parcel(line, 0)).collect();
    assert!(output.bring(&load).unwrap().iter().all(|fate| *fate == Fate::Arrived));
    for (name, digit) in [("events", '7'), ("events.1", '6'), ("events.2", '5')] {
        assert!(folder.read(name).starts_with(digit), "{name}");
        assert_eq!(folder.read(name).lines().count(), 1);
    }
    assert!(!folder.0.join("events.3").exists());
    // An end in the middle of it: nothing goes that needn't.
    fs::rename(folder.0.join("events.1"), folder.0.join("x")).unwrap();
    output.bring(&load[..1]).unwrap();
    assert!(folder.read("events.2").starts_with('5') && folder.read("events.1").starts_with('7'));
    // Fewer are wanted than there are.
    fs::write(folder.0.join("events.3"), "").unwrap();
    output.bring(&load[..1]).unwrap();
    assert!(!folder.0.join("events.3").exists());
}

#[test]
fn files_are_put_aside_by_the_age_of_their_events() {
    let folder = Folder::new("age");
    let mut output = output(&folder.0.join("events"), "max_age_s = 60");
    let second = 1_000_000_000;
    let load = [parcel("a", 0), parcel("b", 60 * second), parcel("c", 61 * second), parcel("d", 30 * second)];
    output.bring(&load).unwrap();
    assert_eq!((folder.read("events.1"), folder.read("events")), ("a\nb\n".into(), "c\nd\n".into()));
}

#[test]
fn a_file_that_others_moved_or_emptied_is_begun_anew() {
    let folder = Folder::new("moved");
    let path = folder.0.join("events");
    let mut output = output(&path, "");
    bring(&mut output, &["a"]).unwrap();
    fs::rename(&path, folder.0.join("old")).unwrap();
    bring(&mut output, &["b"]).unwrap();
    assert_eq!((folder.read("old"), folder.read("events")), ("a\n".into(), "b\n".into()));
    fs::write(&path, "").unwrap();
    bring(&mut output, &["c"]).unwrap();
    assert_eq!(folder.read("events"), "c\n");
    fs::remove_file(&path).unwrap();
    output.reopen();
    bring(&mut output, &["d"]).unwrap();
    assert_eq!(folder.read("events"), "d\n");
}

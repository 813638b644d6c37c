//! A file: on a disk that is full, and moved by others meanwhile.

use std::{fs, path::Path};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use sensor::delivery::PATIENCE;
use tests::Folder;

use crate::{
    begin,
    memory::{Memory, id},
    trouble,
};

fn ids(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    assert!(text.is_empty() || text.ends_with('\n'), "only whole lines");
    let id = |line: &str| {
        let json: serde_json::Value = serde_json::from_str(line).unwrap();
        json["event"]["id"].as_str().unwrap().to_owned()
    };
    text.lines().map(id).collect()
}

fn wanted(count: u64) -> Vec<String> {
    (1..=count).map(id).collect()
}

/// A disk of its own.
struct Disk(Folder);

impl Disk {
    fn new(bytes: u64) -> Self {
        let folder = Folder::new();
        mount(Some("none"), folder.path(), Some("tmpfs"), MsFlags::empty(), Some(&*format!("size={bytes}")))
            .unwrap();
        Self(folder)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = umount2(self.0.path(), MntFlags::MNT_DETACH);
    }
}

#[test]
fn a_full_disk_loses_nothing_and_goes_on_when_there_is_room() {
    let disk = Disk::new(8 << 20);
    fs::write(disk.0.at("filler"), vec![0; 7 << 20]).unwrap();
    let path = disk.0.at("events");
    let journal = Memory::with(3000, 1000);
    let delivery = begin(&format!("type = \"file\"\npath = {path:?}\n"), &journal);
    let said = trouble(&delivery);
    assert!(said.contains("No space left") && said.contains("free some space"), "{said}");
    let before = ids(&path);
    assert!(wanted(3000).starts_with(&before));
    fs::remove_file(disk.0.at("filler")).unwrap();
    journal.until(|state| state.acknowledged == 3000);
    assert!(delivery.stop(PATIENCE).is_empty());
    assert_eq!(ids(&path), wanted(3000), "once each, and in order");
}

#[test]
fn files_that_others_move_or_we_put_aside_hold_each_event_once() {
    let folder = Folder::new();
    let path = folder.at("events");
    let journal = Memory::with(500, 1000);
    let keys = format!("type = \"file\"\npath = {path:?}\nmax_bytes = 200000\nkeep = 20\n");
    let delivery = begin(&keys, &journal);
    journal.until(|state| state.acknowledged == 500);
    // As logrotate does, with a word to us.
    fs::rename(&path, folder.at("moved")).unwrap();
    delivery.reopen();
    journal.add(501..=1000, 1000);
    journal.until(|state| state.acknowledged == 1000);
    assert!(delivery.stop(PATIENCE).is_empty());
    let aside = |number: u32| folder.at(format!("events.{number}"));
    let numbers: Vec<u32> = (1..=20).take_while(|number| aside(*number).exists()).collect();
    assert!(numbers.len() > 3, "{numbers:?}");
    let mut all = Vec::new();
    for number in numbers.into_iter().rev() {
        assert!(fs::metadata(aside(number)).unwrap().len() <= 200_000);
        all.extend(ids(&aside(number)));
    }
    // What was moved stands between those that were put aside before and after.
    let at = all.partition_point(|one| {
        one.rsplit('-').next().unwrap().parse::<u32>().unwrap() <= 500 - ids(&folder.at("moved")).len() as u32
    });
    all.splice(at..at, ids(&folder.at("moved")));
    all.extend(ids(&path));
    assert_eq!(all, wanted(1000));
}

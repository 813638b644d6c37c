//! What is delivered is in the journal too, whatever happens to the sensor and its disk.
#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails the test")]

use nix::sys::signal::Signal;
use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tests::find::Source;
use tests::place::{mount_tmpfs, private_mounts};
use tests::program::storm;
use tests::skip::skip;
use tests::{DEADLINE, Event, Folder, Running, Sensor, journal, lock, patience, words};

/// The least that a journal can be allowed.
const LEAST: u64 = 8 << 20;

fn config(journal: &Path, more: &str) -> String {
    format!("[journal]\nfolder = {:?}\n{more}\n", journal.to_str().unwrap())
}

fn small(journal: &Path) -> String {
    config(journal, &format!("max_bytes = {LEAST}"))
}

/// A row of the journal in a `coverage` event that says this.
fn told(event: &Event, reason: &str) -> bool {
    let mut rows = event.list("sensor.coverage").iter().filter(|row| row["hook"] == "self/journal");
    rows.any(|row| row["state"] == "unseen" && row["reason"].as_str().is_some_and(|why| why.contains(reason)))
}

/// Waits until this event is stored.
fn stored(journal: &Path, fits: impl Fn(&str) -> bool) {
    tests::until("the last event is stored", || journal::last(journal).is_some_and(|id| fits(&id)));
}

/// The number in an `event.id`.
fn number(id: &str) -> u64 {
    id.rsplit_once('-').unwrap().1.parse().unwrap()
}

#[test]
fn what_is_on_standard_output_is_in_the_journal() {
    if skip() {
        return;
    }
    let _together = lock::together();
    let folder = Folder::new();
    let place = folder.at("journal");
    let sensor = Sensor::with().config(&config(&place, "")).live();
    sensor.alert(&folder, "victim");
    sensor.fence();
    let end = sensor.stop();
    end.clean();
    let stored = journal::events(&place);
    let lines: Vec<_> = stored.iter().map(|event| event.line.clone()).collect();
    assert_eq!(lines, end.lines());
    for (position, (event, shown)) in (1..).zip(stored.iter().zip(end.events())) {
        assert_eq!(event.position, position);
        assert_eq!((&*event.id, &*event.action), (shown.str("event.id"), shown.action()));
    }
    assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o7777, 0o700);
    for (action, account) in end.account() {
        assert_eq!(account.seen, account.delivered + account.lost, "{action}");
        assert_eq!(account.lost, 0, "{action}: {:#?}", end.stderr);
    }
    // Another format on standard output, and the same in the journal, after what was there.
    let sensor = Sensor::with().config(&config(&place, "")).args(words!["--format", "ocsf"]).now();
    self::stored(&place, |id| stored.iter().all(|event| event.id != id));
    sensor.signal(Signal::SIGTERM);
    let end = sensor.ended();
    let uids: Vec<_> = end.events().iter().map(|event| event.str("metadata.uid").to_owned()).collect();
    let more = journal::events(&place);
    assert_eq!(more[..stored.len()], stored);
    let ids: Vec<_> = more[stored.len()..].iter().map(|event| event.id.clone()).collect();
    assert_eq!(ids, uids);
    let last = Event::parse(more.last().unwrap().line.as_bytes()).unwrap();
    assert_eq!(last.str("event.id"), ids.last().unwrap());
}

#[test]
fn no_disk_is_touched_unless_a_folder_is_said() {
    if skip() {
        return;
    }
    let _together = lock::together();
    let folder = Folder::new();
    let place = folder.at("journal");
    let sensor = Sensor::with().config(&config(&place, "")).args(words!["--output", "stdout"]).live();
    sensor.stop().clean();
    assert!(!place.exists());
}

/// Kills it as something happens, again and again: what was stored stays, and each run goes on after it.
fn killed(rounds: u64) {
    let folder = Folder::new();
    let place = folder.at("journal");
    let mut before: Vec<journal::Stored> = Vec::new();
    for round in 0..rounds {
        let sensor = Sensor::with().config(&config(&place, "[usage]\ninterval_s = 0\n")).live();
        let mut storm = Running::of(storm(), words!["births"]);
        let last = sensor.alert(&folder, &format!("victim-{round}"));
        let (id, run) =
            (last.str("event.id").to_owned(), last.str("event.id").rsplit_once('-').unwrap().0.to_owned());
        stored(&place, |at| at.starts_with(&run) && number(at) >= number(&id));
        // At another moment of its work each time: by the number of events that came since.
        let births = (round * 37) % 101;
        sensor.count("fork", births, Duration::from_secs(1));
        sensor.signal(Signal::SIGKILL);
        let end = sensor.ended();
        storm.close();
        let now = journal::events(&place);
        assert_eq!(now[..before.len()], before, "what was there is there");
        let (own, shown) = (&now[before.len()..], end.lines());
        let ids: HashSet<_> = own.iter().map(|event| &event.id).collect();
        assert_eq!(ids.len(), own.len(), "nothing twice");
        assert!(ids.contains(&id), "the alert is there");
        // What is in both is the same; either may lack the end.
        let both = own.len().min(shown.len());
        let lines: Vec<_> = own[..both].iter().map(|event| event.line.clone()).collect();
        assert_eq!(lines, shown[..both]);
        before = now;
    }
    let positions: Vec<_> = before.iter().map(|event| event.position).collect();
    assert_eq!(positions, Vec::from_iter(1..=i64::try_from(before.len()).unwrap()));
}

#[test]
fn a_sensor_that_is_killed_leaves_all_that_was_stored() {
    if skip() {
        return;
    }
    let _together = lock::together();
    killed(3);
}

#[test]
#[ignore = "three minutes: cargo test -p tests --test journal -- --ignored a_sensor_that_is_killed_again_and_again"]
fn a_sensor_that_is_killed_again_and_again() {
    let _together = lock::together();
    killed(100);
}

#[test]
fn a_full_disk_loses_nothing_that_waits() {
    if skip() {
        return;
    }
    let _together = lock::together();
    let folder = Folder::new();
    let small = folder.folder("small");
    private_mounts(|| {
        mount_tmpfs(&small, "12m");
        let place = small.join("journal");
        let sensor = Sensor::with().config(&self::small(&place)).live();
        let filler = small.join("filler");
        // As much as there is, to the last page.
        assert!(fs::write(&filler, vec![1; 16 << 20]).is_err());
        let full = sensor.find("coverage").such("no space", |event| told(event, "full"));
        let deadline = Instant::now() + patience(DEADLINE);
        while full.all().is_empty() {
            assert!(Instant::now() < deadline, "{:#?}", sensor.find("coverage").all());
            sensor.fence();
        }
        let at = full.wait().num("event.sequence");
        drop(full);
        fs::remove_file(&filler).unwrap();
        let over = |event: &Event| {
            let rows = event.list("sensor.coverage");
            event.num("event.sequence") > at && rows.iter().all(|row| row["hook"] != "self/journal")
        };
        sensor.find("coverage").such("space again", over).wait();
        let end = sensor.stop();
        end.clean();
        let once = end.stderr.iter().filter(|line| line.contains("could not write to the journal")).count();
        assert_eq!(once, 1, "{:#?}", end.stderr);
        assert!(end.stderr.iter().any(|line| line.contains("takes events again")), "{:#?}", end.stderr);
        let lines: Vec<_> = journal::events(&place).into_iter().map(|event| event.line).collect();
        assert_eq!(lines, end.lines());
    });
}

#[test]
fn a_disk_that_is_full_at_the_start_has_all_when_there_is_space() {
    if skip() {
        return;
    }
    let _together = lock::together();
    let folder = Folder::new();
    let small = folder.folder("small");
    private_mounts(|| {
        mount_tmpfs(&small, "12m");
        let place = small.join("journal");
        let first = Sensor::with().config(&self::small(&place)).live();
        let before = first.stop();
        before.clean();
        let filler = small.join("filler");
        assert!(fs::write(&filler, vec![1; 16 << 20]).is_err());
        let sensor = Sensor::with().config(&self::small(&place)).live();
        let row =
            |event: &Event| event.list("sensor.coverage").iter().any(|row| row["hook"] == "self/journal");
        let at = sensor.find("coverage").such("no space", row).wait().num("event.sequence");
        fs::remove_file(&filler).unwrap();
        let over = |event: &Event| event.num("event.sequence") > at && !row(event);
        sensor.find("coverage").such("space again", over).wait();
        let end = sensor.stop();
        end.clean();
        let lines: Vec<_> = journal::events(&place).into_iter().map(|event| event.line).collect();
        assert_eq!(lines, [before.lines(), end.lines()].concat());
    });
}

#[test]
fn a_disk_that_stays_full_is_told_at_the_end() {
    if skip() {
        return;
    }
    let _together = lock::together();
    let folder = Folder::new();
    let small = folder.folder("small");
    private_mounts(|| {
        mount_tmpfs(&small, "12m");
        let sensor = Sensor::with().config(&self::small(&small.join("journal"))).live();
        assert!(fs::write(small.join("filler"), vec![1; 16 << 20]).is_err());
        sensor.fence();
        let end = sensor.stop();
        assert_eq!(end.status.code(), Some(1), "{:#?}", end.stderr);
        let account = end.account();
        for (action, account) in &account {
            assert_eq!(account.seen, account.delivered + account.lost, "{action}");
        }
        assert!(account["exec"].lost > 0, "they are on standard output, but not in the journal: {account:?}");
    });
}

#[test]
fn a_damaged_journal_is_set_aside() {
    if skip() {
        return;
    }
    let _together = lock::together();
    let folder = Folder::new();
    let place = folder.folder("journal");
    fs::set_permissions(&place, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(place.join("journal.db"), "no database, whatever it is called").unwrap();
    let sensor = Sensor::with().config(&config(&place, "")).live();
    sensor.find("coverage").such("set aside", |event| told(event, "journal.db.damaged")).wait();
    let end = sensor.stop();
    end.clean();
    let said = |line: &String| line.contains("is damaged") || line.contains("not a database");
    assert!(end.stderr.iter().any(said), "{:#?}", end.stderr);
    assert_eq!(fs::read(place.join("journal.db.damaged")).unwrap(), b"no database, whatever it is called");
    assert_eq!(journal::events(&place).len(), end.lines().len());
}

#[test]
fn a_second_run_says_why_it_keeps_none() {
    if skip() {
        return;
    }
    let _together = lock::together();
    let folder = Folder::new();
    let place = folder.at("journal");
    let first = Sensor::with().config(&config(&place, "")).live();
    let second = Sensor::with().config(&config(&place, "")).live();
    let who = format!("(pid {})", first.pid());
    second.find("coverage").such("another", |event| told(event, &who)).wait();
    first.fence();
    let end = second.stop();
    end.clean();
    assert!(end.stderr.iter().any(|line| line.contains(&who)), "{:#?}", end.stderr);
    let end = first.stop();
    end.clean();
    assert_eq!(journal::events(&place).len(), end.lines().len());
}

#[test]
fn a_folder_that_is_not_ours_alone_is_refused() {
    if skip() {
        return;
    }
    let _together = lock::together();
    let folder = Folder::new();
    let (real, link): (PathBuf, PathBuf) = (folder.folder("real"), folder.at("link"));
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let sensor = Sensor::with().config(&config(&link, "")).live();
    sensor.find("coverage").such("a link", |event| told(event, "it is a link")).wait();
    sensor.stop().clean();
    assert_eq!(fs::read_dir(&real).unwrap().count(), 0);
}

#[test]
#[ignore = "half a minute: cargo test -p tests --test journal -- --ignored a_flood_stays_within_the_bounds"]
fn a_flood_stays_within_the_bounds() {
    let _alone = lock::alone();
    let folder = Folder::new();
    let place = folder.at("journal");
    let sensor = Sensor::with().config(&small(&place)).live();
    for round in 1..=12_u64 {
        Running::of(storm(), words!["fork", "2000"]).end();
        sensor.count("exit", 2000 * round, DEADLINE);
        assert!(journal::bytes(&place) <= LEAST, "round {round}: {}", journal::bytes(&place));
    }
    let end = sensor.stop();
    end.clean();
    let (stored, shown) = (journal::events(&place), end.lines());
    let dropped = usize::try_from(stored[0].position).unwrap() - 1;
    assert!(dropped > 1000, "the flood was too small: {dropped} dropped");
    let rows = end.find("loss").all();
    let refused =
        rows.iter().flat_map(|event| event.list("sensor.lost")).filter(|row| row["stage"] == "journal");
    let refused: u64 = refused.map(|row| row["count"].as_u64().unwrap()).sum();
    assert_eq!(dropped + stored.len() + usize::try_from(refused).unwrap(), shown.len(), "all that was shown");
    // In the order in which they came.
    let mut shown = shown.into_iter();
    assert!(stored.into_iter().all(|event| shown.any(|line| line == event.line)));
    for (action, account) in end.account() {
        assert_eq!(account.seen, account.delivered + account.lost, "{action}");
    }
}

//! Measures an output: so many events, in the place of those of a journal, brought as fast as they go. For `cargo xtask bench outputs`.
//!
//! Usage: `outputs EVENTS KEYS`, the keys as they stand below `[[outputs]]`. Prints events and seconds.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "it is a measurement")]

use std::{
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use sensor::{
    config,
    delivery::{Cursor, CursorError, Delivery, Entry, Outlet},
    host::Host,
    output::Load,
};

/// What an exec on a server looks like; `{}` is its number.
const LINE: &str = r#"{"@timestamp":"2026-11-27T00:34:48.123456789Z","ecs":{"version":"9.4.0"},"event":{"kind":"event","category":["process"],"type":["start"],"action":"exec","sequence":{},"id":"e4057c27660c0d4b-{}"},"host":{"name":"web-1.example.org","id":"2f1f5b7c9d8e4a3b8c6d5e4f3a2b1c0d","boot":{"id":"7d3c4a52-0a2b-4f6e-9c1d-8e7f6a5b4c3d"}},"process":{"pid":{},"entity_id":"9f86d081884c7d659a2feaa0c55ad015","start":"2026-11-27T00:34:48.120000000Z","executable":"/usr/bin/python3.11","hash":{"sha256":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},"name":"python3","args":["/usr/bin/python3","-m","http.server","--bind","127.0.0.1","8080"],"args_count":6,"working_directory":"/srv/www","interactive":false,"thread":{"id":4243},"user":{"id":"33","name":"www-data"},"real_user":{"id":"33","name":"www-data"},"group":{"id":"33"},"parent":{"pid":4000,"entity_id":"3e23e8160039594a33894f6564e1b134","executable":"/usr/bin/bash","name":"bash","args":["bash"]},"session_leader":{"pid":3999}},"user":{"id":"33","name":"www-data"},"sensor":{"version":"0.1.0","exe":{"device":"259:1","inode":"1310780","nlink":1,"state":"present"}}}"#;
/// How many different lines there are.
const LINES: u64 = 4096;

struct Endless {
    lines: Vec<String>,
    all: u64,
    read: u64,
    done: Arc<(Mutex<(u64, u64)>, Condvar)>,
}

impl Cursor for Endless {
    fn read(&mut self, most: Load) -> Result<Vec<Entry>, CursorError> {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while self.read < self.all && entries.len() < most.events {
            let line = &self.lines[(self.read % LINES) as usize];
            if !entries.is_empty() && bytes + line.len() > most.bytes {
                break;
            }
            bytes += line.len();
            self.read += 1;
            entries.push(Entry {
                position: self.read,
                id: format!("e4057c27660c0d4b-{}", self.read),
                time: 1_795_739_688_123_456_789,
                action: "exec".to_owned(),
                severity: 0,
                user: Some("www-data".to_owned()),
                line: line.clone(),
            });
        }
        Ok(entries)
    }

    fn acknowledge(&mut self, position: u64) -> Result<(), CursorError> {
        self.done.0.lock().unwrap().0 = position;
        self.done.1.notify_all();
        Ok(())
    }

    fn refuse(&mut self, _: &Entry, _: &str) -> Result<(), CursorError> {
        self.done.0.lock().unwrap().1 += 1;
        Ok(())
    }

    fn rewind(&mut self) {}

    fn dropped(&mut self) -> u64 {
        0
    }

    fn wait(&self, at_most: Duration) {
        std::thread::sleep(at_most);
    }
}

fn main() {
    let mut words = std::env::args().skip(1);
    let (Some(Ok(all)), Some(keys)) = (words.next().map(|all| all.parse::<u64>()), words.next()) else {
        println!("usage: outputs EVENTS KEYS");
        return;
    };
    let host = Host::real().unwrap();
    let config: config::Output = toml::from_str(&format!("name = \"bench\"\n{keys}")).unwrap();
    let outlet = Outlet::new(&config, &host).unwrap();
    let done = Arc::new((Mutex::new((0, 0)), Condvar::new()));
    let lines = (0..LINES).map(|number| LINE.replace("{}", &(number + 1000).to_string())).collect();
    let cursor = Endless { lines, all, read: 0, done: Arc::clone(&done) };
    let began = Instant::now();
    let delivery = Delivery::begin(&host, vec![(outlet, Box::new(cursor))]).unwrap();
    let left = |state: &mut (u64, u64)| state.0 < all;
    let state = done.1.wait_while(done.0.lock().unwrap(), left).unwrap();
    let (seconds, refused) = (began.elapsed().as_secs_f64(), state.1);
    drop(state);
    println!("{} {refused} {seconds}", all - refused);
    delivery.stop(Duration::ZERO);
}

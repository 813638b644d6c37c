//! `sensor query`: what happened and what is so now, in one statement, with a real journal.
#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails the test")]

use std::os::unix::process::CommandExt;

use serde_json::Value;
use tests::answer::run;
use tests::find::Source;
use tests::sensor::command;
use tests::skip::skip;
use tests::{DEADLINE, Folder, Running, Sensor, patience, words};

/// A folder with a configuration that has a journal in it.
fn place() -> (Folder, String) {
    let folder = Folder::new();
    let config = format!("[journal]\nfolder = {:?}\n[evidence]\nfolder = \"\"\n", folder.at("journal"));
    std::fs::write(folder.at("sensor.toml"), &config).unwrap();
    (folder, config)
}

/// Asks, as root; gives status, rows and what was said.
fn ask(folder: &Folder, sql: &str, more: &[&str]) -> (Option<i32>, Vec<Value>, String) {
    let mut query = command();
    query
        .args(["query", "--format", "json"])
        .args(more)
        .arg("--config")
        .arg(folder.at("sensor.toml"))
        .arg(sql);
    let output = run(&mut query);
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let rows = lines.map(|line| serde_json::from_slice(line).unwrap()).collect();
    (output.status.code(), rows, String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn what_happened_is_joined_with_what_is_so_now() {
    if skip() {
        return;
    }
    let (folder, config) = place();
    let sensor = Sensor::with().config(&config).live();
    let net = words![
        "tcp",
        "a",
        "4",
        "bind",
        "a",
        "127.0.0.1",
        "0",
        "listen",
        "a",
        "port",
        "a",
        "say",
        "up",
        "wait"
    ];
    let mut running = Running::of(tests::program::net(), net);
    let port: u64 = running.line().trim_start_matches("port ").parse().unwrap();
    running.until("up");
    let exec = sensor.find("exec").pid(running.pid()).wait();
    // It is written each second.
    let sql = format!(
        "SELECT e.action, p.pid, l.port, e.line ->> '$.event.id' AS id, iso(e.time) AS at \
         FROM events e JOIN processes p USING (entity) JOIN listeners l ON l.pid = p.pid \
         WHERE e.action = 'exec' AND l.port = {port}"
    );
    let until = std::time::Instant::now() + patience(DEADLINE);
    let row = loop {
        let (_, rows, said) = ask(&folder, &sql, &[]);
        if let Some(row) = rows.first() {
            break row.clone();
        }
        assert!(std::time::Instant::now() < until, "{said}");
    };
    assert_eq!((&row["pid"], &row["port"]), (&running.pid().into(), &port.into()), "{row}");
    assert_eq!(row["id"], exec.str("event.id"));
    assert_eq!(row["at"], exec.str("@timestamp"));
    let open = format!("SELECT path FROM files WHERE pid = {} AND descriptor = 0", running.pid());
    assert_eq!(ask(&folder, &open, &[]).1.len(), 1);
    let socket = format!("SELECT state FROM sockets WHERE server_port = {port} AND transport = 'tcp'");
    assert_eq!(ask(&folder, &socket, &[]).1, [serde_json::json!({ "state": "listening" })]);
    running.end();
    sensor.stop().clean();
    // It is there after the end too.
    let (status, rows, said) = ask(&folder, "SELECT count(*) AS n FROM events WHERE action = 'exit'", &[]);
    assert!(status == Some(0) && rows[0]["n"].as_u64().unwrap() > 0, "{said}");
}

#[test]
fn whoever_asks_only_reads_and_not_without_end() {
    if skip() {
        return;
    }
    let (folder, config) = place();
    Sensor::with().config(&config).live().stop().clean();
    let events = |sql: &str, more: &[&str]| ask(&folder, sql, more);
    let (_, before, _) = events("SELECT count(*) AS n FROM events", &[]);
    for (sql, status, why) in [
        ("DELETE FROM event", 2, "only SELECT"),
        ("ATTACH '/etc/passwd' AS x", 2, "only SELECT"),
        ("SELECT 1; SELECT 2", 2, "give one"),
        ("SELECT * FROM nowhere", 2, "no such table: nowhere"),
        ("SELECT zeroblob(900000000) AS x", 1, "256 MiB"),
    ] {
        let (code, rows, said) = events(sql, &[]);
        assert!(code == Some(status) && rows.is_empty() && said.contains(why), "{sql}: {code:?} {said}");
    }
    let endless =
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) AS n FROM n";
    let (code, _, said) = events(endless, &["--timeout", "1"]);
    assert!(code == Some(1) && said.contains("longer than 1 s"), "{said}");
    // Rows of text wait for the last one.
    let rows = endless.replace("count(*) AS n FROM n", "x FROM n");
    let mut query = command();
    query
        .args(["query", "--format", "text", "--memory", "16", &rows, "--config"])
        .arg(folder.at("sensor.toml"));
    let output = run(&mut query);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{said}");
    assert!(said.contains("needs more than 16 MiB of memory"), "{said}");
    assert_eq!(events("SELECT count(*) AS n FROM events", &[]).1, before);
}

#[test]
fn without_a_journal_or_root() {
    if skip() {
        return;
    }
    let (folder, _) = place();
    let own = format!("SELECT pid FROM processes WHERE pid = {}", std::process::id());
    let (code, rows, said) = ask(&folder, &own, &[]);
    assert_eq!((code, rows), (Some(0), vec![serde_json::json!({ "pid": std::process::id() })]), "{said}");
    let (code, _, said) = ask(&folder, "SELECT * FROM events", &[]);
    assert!(code == Some(1) && said.contains("there is no journal"), "{said}");
    let mut query = command();
    query.args(["query", &own, "--format", "csv"]).uid(65_534).gid(65_534);
    let output = run(&mut query);
    let said = String::from_utf8_lossy(&output.stderr);
    let shown = format!("pid\r\n{}\r\n", std::process::id());
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(4), shown.as_bytes()), "{said}");
    let output = run(command().args(["query", "--tables"]));
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(
        ["events", "processes", "listeners", "sockets", "files", "users"]
            .iter()
            .all(|name| shown.contains(name))
    );
}

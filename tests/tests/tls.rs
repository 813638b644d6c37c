//! `sensor lookup` over TLS: only who proves to be whom `lookup.url` names is given the key, and nobody can keep it waiting.
#![expect(clippy::unwrap_used, reason = "a helper that can't go on fails the test")]

use std::fs::{self, Permissions};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;
use tests::answer::run;
use tests::sensor::command;
use tests::skip::missing;
use tests::{Answer, DEADLINE, Folder, patience};

const KEY: &str = "0123456789abcdef";
const HASH: &str = "00000000000000000000000000000000000000000000000000000000000000aa";
const OPENSSL: &str = "/usr/bin/openssl";

/// Asks whoever has this port of loopback.
fn lookup(folder: &Folder, port: u16, variables: &[(&str, &Path)]) -> Answer {
    let at = |name: &str| folder.at(name).display().to_string();
    fs::write(at("key"), KEY).unwrap();
    fs::set_permissions(at("key"), Permissions::from_mode(0o600)).unwrap();
    let config = format!(
        "[lookup]\nkey_file = {:?}\nfolder = {:?}\nurl = \"https://127.0.0.1:{port}\"\ntimeout_s = 2\nper_minute = 1000\n",
        at("key"),
        at("kept")
    );
    fs::write(at("config"), config).unwrap();
    let mut command = command();
    // No proxy of who runs the tests.
    command.env_clear().args(["lookup", "--config", &at("config"), HASH]).envs(variables.iter().copied());
    let answer = Answer::of(&mut command).status(4);
    assert!(!answer.said.contains(KEY) && !answer.said.chars().any(|c| c.is_control() && c != '\n'));
    assert_eq!(answer.rows[0].str("sensor.reputation.verdict"), "unknown", "the local answer stands");
    answer
}

/// Another TLS than ours, with a certificate of its own.
struct Tls {
    child: Child,
    port: u16,
}

impl Tls {
    fn start(folder: &Folder) -> Self {
        let (key, certificate) = (folder.at("server.key"), folder.at("server.pem"));
        let mut request = Command::new(OPENSSL);
        request.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        request.args(["-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]);
        request.args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"]);
        let made = run(request.arg(&key).arg("-out").arg(&certificate));
        assert!(made.status.success(), "{made:?}");
        // Free a moment ago: it tells no port that it chose itself.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Command::new(OPENSSL);
        server.args(["s_server", "-quiet", "-accept", &format!("127.0.0.1:{port}"), "-key"]);
        server.arg(key).arg("-cert").arg(certificate).stdin(Stdio::piped()).stderr(Stdio::null());
        // What it was told goes there.
        let told = fs::File::create(folder.at("told")).unwrap();
        let child = server.stdout(told).spawn().unwrap();
        let end = Instant::now() + patience(DEADLINE);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "openssl doesn't listen on {port}");
            std::thread::yield_now();
        }
        Self { child, port }
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_certificate_that_no_known_authority_made_is_refused() {
    if !Path::new(OPENSSL).exists() && missing("there is no openssl") {
        return;
    }
    let folder = Folder::new();
    let server = Tls::start(&folder);
    // What the host, or the environment, takes for an authority doesn't count.
    let pem = folder.at("server.pem");
    for variables in [&[][..], &[("SSL_CERT_FILE", &*pem), ("SSL_CERT_DIR", folder.path())]] {
        let answer = lookup(&folder, server.port, variables);
        for word in ["its certificate is refused (", "UnknownIssuer", "the key wasn't sent", "lookup.url"] {
            assert!(answer.said.contains(word), "no {word}: {}", answer.said);
        }
    }
    // That it takes questions at all, of who doesn't mind.
    let mut client = Command::new(OPENSSL);
    client.args(["s_client", "-quiet", "-connect", &format!("127.0.0.1:{}", server.port)]);
    let quiet = client.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut client = quiet.spawn().unwrap();
    client.stdin.as_mut().unwrap().write_all(b"canary\n").unwrap();
    let told = || fs::read_to_string(folder.at("told")).unwrap();
    let end = Instant::now() + patience(DEADLINE);
    while !told().contains("canary") {
        assert!(Instant::now() < end, "it isn't told: {}", told());
        std::thread::yield_now();
    }
    let _ = client.kill();
    let _ = client.wait();
    assert_eq!(told(), "canary\n", "and nothing of ours");
}

/// A server that does this with each connection.
fn server(what: fn(TcpStream)) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.incoming().filter_map(Result::ok).for_each(what));
    port
}

#[test]
fn what_speaks_no_tls_is_said() {
    let folder = Folder::new();
    let http = server(|mut stream| drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")));
    let noise = server(|mut stream| drop(stream.write_all(&b"\x16\x03\x03\xff\xff\x1b[2J\x00".repeat(4096))));
    let closes = server(drop);
    for port in [http, noise, closes] {
        let answer = lookup(&folder, port, &[]);
        assert!(answer.said.contains("can't be reached"), "{}", answer.said);
    }
}

#[test]
fn a_handshake_that_never_comes_is_given_up() {
    let folder = Folder::new();
    // Held until the test ends.
    let silent = server(std::mem::forget);
    let answer = lookup(&folder, silent, &[]);
    assert!(answer.said.contains("didn't answer in time"), "{}", answer.said);
    let drips = server(|mut stream| {
        // The beginning of a record, a byte at a time.
        for byte in [22, 3, 3, 64, 0, 2].into_iter().chain(std::iter::repeat(0)) {
            if stream.write_all(&[byte]).is_err() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    });
    let answer = lookup(&folder, drips, &[]);
    assert!(answer.said.contains("didn't answer in time"), "{}", answer.said);
}

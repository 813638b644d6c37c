//! Why a process is suspicious, beside what is thought of its executable: a sentence each, with how odd it is.

use std::path::PathBuf;

use super::Facts;
use crate::{
    format::text::escape,
    look::hashed::{Hashed, Images},
    net::found::{Inet, Kind, State},
    package::{Compared, Fingerprint, Packages},
    process::Process,
    procfs::descriptors::Target,
    record::Text,
    redact::Redactor,
    reputation::lists,
};

/// Variables by which other code gets into a program (`ld.so(8)`, and the interpreters' own pages).
const LOADERS: [&[u8]; 8] = [
    b"LD_PRELOAD",
    b"LD_AUDIT",
    b"BASH_ENV",
    b"PERL5OPT",
    b"PYTHONSTARTUP",
    b"RUBYOPT",
    b"NODE_OPTIONS",
    b"JAVA_TOOL_OPTIONS",
];
/// Folders where everybody may write.
const OPEN_FOLDERS: [&[u8]; 3] = [b"/tmp/", b"/var/tmp/", b"/dev/shm/"];
/// Programs that do what they read.
const SHELLS: [&[u8]; 12] = [
    b"sh", b"bash", b"dash", b"zsh", b"ksh", b"ash", b"busybox", b"fish", b"perl", b"ruby", b"php", b"python",
];

type Finding = (u64, Text);

fn finding(severity: u64, sentence: impl Into<String>) -> Finding {
    (severity, Text::from(sentence.into()))
}

/// What is odd about what was found.
pub(super) fn of(facts: &Facts, process: &Process, redactor: &Redactor) -> Vec<Finding> {
    let mut found: Vec<Finding> = facts.images.findings().map(|(odd, what)| finding(odd, what)).collect();
    for file in facts.images.files.iter().skip(1) {
        let path = escape(file.path.as_bytes());
        found.extend(file.findings().map(|(odd, what)| finding(odd, format!("{what}: {path}"))));
    }
    if facts.mute {
        found.push(finding(
            73,
            "who reads its environment is kept waiting: it has put its memory where no answer comes from",
        ));
    }
    if facts.kept.tracer != 0 {
        found.push(finding(
            47,
            format!("process {} traces it, and can change what it does", facts.kept.tracer),
        ));
    }
    let path = process.image.executable.as_ref().map(Text::as_bytes).unwrap_or_default();
    if OPEN_FOLDERS.iter().any(|folder| path.starts_with(folder)) {
        found.push(finding(47, "it executes a file from a folder where everybody may write"));
    }
    for variable in &facts.environment {
        let mut parts = variable.as_bytes().splitn(2, |byte| *byte == b'=');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if LOADERS.contains(&name) && !value.is_empty() {
            let masked = redactor.variable(variable.as_bytes());
            let value = masked.get(name.len() + 1..).unwrap_or_default();
            let (name, value) = (escape(name), escape(value));
            found.push(finding(
                47,
                format!("its environment has other code loaded into it: {name} is {value}"),
            ));
        }
    }
    found.extend(reverse_shell(facts, path));
    found
}

/// A shell that reads what it does from another host.
fn reverse_shell(facts: &Facts, path: &[u8]) -> Option<Finding> {
    let input = facts.descriptors.iter().find(|descriptor| descriptor.number == 0)?;
    let Target::Socket(inode) = input.target else { return None };
    let Kind::Inet(Inet { remote, .. }) =
        facts.sockets.get(&inode).filter(|socket| socket.state == State::Connected)?.kind
    else {
        return None;
    };
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let bare = name.iter().position(u8::is_ascii_digit).and_then(|at| name.get(..at)).unwrap_or(name);
    let remote = std::net::SocketAddr::from(remote);
    Some(match SHELLS.contains(&bare) {
        true => {
            finding(99, format!("a shell or interpreter reads what it does from a connection to {remote}"))
        }
        false => finding(21, format!("its standard input is a connection to {remote}")),
    })
}

/// Files that a package brought otherwise; `own`: paths are those of our own root.
pub(super) fn of_packages(root: &std::path::Path, images: &Images, own: bool) -> Vec<Finding> {
    let print = |file: &Hashed| Fingerprint {
        path: (own && file.state == "present").then(|| file.path.clone()),
        md5: file.md5.clone().unwrap_or_default(),
        sha256: file.digest.sha256.clone(),
    };
    let prints: Vec<Fingerprint> = images.files.iter().map(print).collect();
    let compared = Packages::new(root).compare(&prints);
    let differs = images.files.iter().zip(compared).filter_map(|(file, compared)| match compared {
        Some(Compared::Differs { package }) => {
            let (path, name) = (escape(file.path.as_bytes()), escape(package.name.as_bytes()));
            Some(finding(
                73,
                format!("{path} isn't the file that the package {name} brought: it was changed since"),
            ))
        }
        _ => None,
    });
    differs.collect()
}

/// Files that stand on a list of bad ones.
pub(super) fn of_lists(paths: &[PathBuf], images: &Images, parts: &mut Vec<String>) -> Vec<Finding> {
    let hashes: Vec<Text> = images.files.iter().map(|file| file.digest.sha256.clone()).collect();
    let mut found = Vec::new();
    for path in paths {
        let name = escape(path.as_os_str().as_encoded_bytes());
        match lists::search(path, &hashes) {
            Ok(listed) => {
                let bad = images.files.iter().filter(|file| listed.listed.contains(&file.digest.sha256));
                found.extend(bad.map(|file| {
                    finding(
                        99,
                        format!("{} is on the list of bad files {name}", escape(file.path.as_bytes())),
                    )
                }));
            }
            Err(why) => parts.push(format!("the list {name}: {why}")),
        }
    }
    found
}

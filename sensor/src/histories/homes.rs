//! Where users' histories are: in the homes of `passwd(5)`.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::Read,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Component, Path, PathBuf},
};

use super::{History, Owner, Shell, read, tamper};
use crate::record::Text;

/// A user, with a home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub uid: u32,
    /// Its name.
    pub name: Text,
    /// Its home.
    pub home: PathBuf,
}

/// Most bytes of the user database that are read, and most users.
const LARGEST_PASSWD: u64 = 16 * 1024 * 1024;
const MOST_USERS: usize = 65_536;
/// How many links root may have made on the way to a home.
const MOST_LINKS: usize = 8;

/// Where each shell keeps its history unless it is told otherwise.
const FILES: &[(&str, Shell)] = &[
    (".bash_history", Shell::Bash),
    (".zsh_history", Shell::Zsh),
    (".zhistory", Shell::Zsh),
    (".histfile", Shell::Zsh),
    (".local/share/fish/fish_history", Shell::Fish),
    (".ash_history", Shell::Ash),
    (".sh_history", Shell::Ksh),
    (".mksh_history", Shell::Mksh),
    (".ksh_history", Shell::Ksh),
    (".history", Shell::Tcsh),
];

/// What shells read when they start, where a history can be turned off for good.
const STARTUP: &[(&str, Shell)] = &[
    (".bashrc", Shell::Bash),
    (".bash_profile", Shell::Bash),
    (".bash_login", Shell::Bash),
    (".bash_aliases", Shell::Bash),
    (".profile", Shell::Other),
    (".zshrc", Shell::Zsh),
    (".zshenv", Shell::Zsh),
    (".zprofile", Shell::Zsh),
    (".kshrc", Shell::Ksh),
    (".mkshrc", Shell::Mksh),
    (".config/fish/config.fish", Shell::Fish),
];
/// How many lines of one are told.
const LINES_MOST: usize = 8;

/// All users that have a home, the first of each home.
#[must_use]
pub fn users(passwd: &Path) -> Vec<User> {
    let mut bytes = Vec::new();
    let read = File::open(passwd).and_then(|file| file.take(LARGEST_PASSWD).read_to_end(&mut bytes));
    let mut users: Vec<User> = Vec::new();
    let mut homes = std::collections::HashSet::new();
    for line in bytes.split(|byte| *byte == b'\n').filter(|_| read.is_ok()) {
        let columns: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        let [name, _, uid, _, _, home, ..] = columns[..] else { continue };
        let Some(uid) = std::str::from_utf8(uid).ok().and_then(|uid| uid.parse().ok()) else { continue };
        let home = PathBuf::from(OsStr::from_bytes(home));
        if home.has_root() && home.parent().is_some() && homes.insert(home.clone()) {
            users.push(User { uid, name: Text::copy_from(name), home });
        }
        if users.len() >= MOST_USERS {
            break;
        }
    }
    users
}

/// The histories in a user's home.
#[must_use]
pub fn histories(root: &Path, user: &User, interactive: bool) -> Vec<History> {
    let owner = Owner { uid: user.uid, interactive };
    let Some(home) = settled(root, &user.home) else { return Vec::new() };
    let files = FILES.iter().filter_map(|(file, shell)| read(root, &home.join(file), *shell, owner));
    let startup = STARTUP.iter().filter_map(|(file, shell)| startup(root, &home.join(file), *shell, owner));
    files.chain(startup).collect()
}

/// A file that a shell reads when it starts, if it takes the history away: as one that remembers nothing.
fn startup(root: &Path, path: &Path, shell: Shell, owner: Owner) -> Option<History> {
    let file = read(root, path, Shell::Ash, owner)?;
    let bad = file.commands.iter().filter(|line| {
        !line.text.as_bytes().trim_ascii_start().starts_with(b"#") && tamper::tampers(&line.text)
    });
    let findings: Vec<(u64, String)> = bad
        .take(LINES_MOST)
        .map(|line| {
            let text = line.text.as_bytes().escape_ascii().to_string();
            (47, format!("line {}, at each start of a shell: {}", line.line, text.trim_start()))
        })
        .collect();
    (!findings.is_empty()).then(|| History { shell, findings, commands: Vec::new(), ..file })
}

/// The way to a home without those links on it that root made, where only root could; others stay, and are refused when
/// they are opened.
fn settled(root: &Path, home: &Path) -> Option<PathBuf> {
    let mut way = home.to_owned();
    for _ in 0..=MOST_LINKS {
        let Some((at, target)) = first_link(root, &way) else { return Some(way) };
        let rest = way.strip_prefix(&at).ok()?.to_owned();
        way = normal(&at.parent()?.join(target)).join(rest);
    }
    None
}

/// The first part of a way that is a link of root's in a folder of root's, and where it leads.
fn first_link(root: &Path, way: &Path) -> Option<(PathBuf, PathBuf)> {
    let mut at = PathBuf::from("/");
    for part in way.components().filter(|part| matches!(part, Component::Normal(_))) {
        let folder = fs::symlink_metadata(under(root, &at)).ok()?;
        at.push(part);
        let facts = fs::symlink_metadata(under(root, &at)).ok()?;
        let of_root = folder.uid() == 0 && folder.mode() & 0o022 == 0 && facts.uid() == 0;
        if facts.is_symlink() {
            return of_root.then(|| Some((at.clone(), fs::read_link(under(root, &at)).ok()?)))?;
        }
    }
    None
}

fn under(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut bare = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => bare.push(name),
            Component::ParentDir => drop(bare.pop()),
            _ => {}
        }
    }
    bare
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn homes_are_found_and_links_in_them_are_not_followed() {
        let root = std::env::temp_dir().join(format!("sensor-homes-{}", std::process::id()));
        fs::create_dir_all(root.join("usr/home/alice")).unwrap();
        symlink("usr/home", root.join("home")).unwrap();
        fs::write(root.join("usr/home/alice/.bash_history"), "id\n").unwrap();
        symlink("/etc/shadow", root.join("usr/home/alice/.zsh_history")).unwrap();
        symlink("/dev/null", root.join("usr/home/alice/.ash_history")).unwrap();
        fs::create_dir(root.join("usr/home/alice/.sh_history")).unwrap();
        fs::create_dir(root.join("usr/home/alice/real")).unwrap();
        symlink("real", root.join("usr/home/alice/.local")).unwrap();
        let passwd = root.join("passwd");
        fs::write(
            &passwd,
            "alice:x:1000:1000::/home/alice:/bin/bash\nbad:x\nx:x:1:1::/:\nb:x:2:2::/home/alice:\n",
        )
        .unwrap();
        let users = users(&passwd);
        assert_eq!(users.len(), 1);
        let found = histories(&root, &users[0], false);
        if nix::unistd::geteuid().is_root() {
            let commands: usize = found.iter().map(|history| history.commands.len()).sum();
            assert_eq!(commands, 1, "{found:?}");
            let of =
                |end: &str| found.iter().find(|history| history.path.to_str_lossy().ends_with(end)).unwrap();
            assert!(of(".zsh_history").findings[0].1.contains("which isn't followed"));
            assert_eq!(of(".ash_history").findings[0].0, 47);
            assert!(of(".sh_history").findings[0].1.contains("a folder"));
        }
        fs::remove_dir_all(&root).unwrap();
    }
}

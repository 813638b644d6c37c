//! What puts rules in force again when the host starts: a unit of systemd that runs `sensor port restore` before the network.

use std::{
    env,
    fs::{self, DirBuilder},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, symlink},
    },
    path::{Path, PathBuf},
};

use crate::{format::text::escape, trusted};

const UNITS: &str = "etc/systemd/system";
const NAME: &str = "sensor-ports.service";
/// What wants it: all that isn't an emergency shell.
const WANTED: &str = "sysinit.target.wants";

/// How rules come back after a boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restore {
    /// By this unit.
    Unit(PathBuf),
    /// By nobody: there is no systemd.
    Nobody,
}

/// Has systemd restore rules at each boot, from the next on.
///
/// # Errors
/// When the unit can't be written.
pub fn enable(root: &Path) -> io::Result<Restore> {
    let units = root.join(UNITS);
    if !units.is_dir() {
        return Ok(Restore::Nobody);
    }
    enable_for(&fs::canonicalize(env::current_exe()?)?, &units)
}

/// For the program at this path.
fn enable_for(sensor: &Path, units: &Path) -> io::Result<Restore> {
    let unit = units.join(NAME);
    if !trusted::is_roots(sensor) {
        return Err(io::Error::other(format!(
            "{}: others than root may put another program in its place, which would be run as root then: install the \
             sensor where only root writes, as /usr/local/sbin",
            escape(sensor.as_os_str().as_bytes())
        )));
    }
    let text = text(sensor)?;
    if fs::read_to_string(&unit).ok().as_deref() != Some(text.as_str()) {
        let unfinished = units.join(format!(".{NAME}.{}.part", std::process::id()));
        fs::write(&unfinished, &text).and_then(|()| fs::rename(&unfinished, &unit))?;
    }
    let wants = units.join(WANTED);
    match DirBuilder::new().mode(0o755).create(&wants) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    match symlink(Path::new("..").join(NAME), wants.join(NAME)) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(Restore::Unit(unit)),
    }
}

/// Takes that away, when no rule is to come back.
///
/// # Errors
/// When it can't be.
pub fn disable(root: &Path) -> io::Result<()> {
    let units = root.join(UNITS);
    for path in [units.join(WANTED).join(NAME), units.join(NAME)] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn text(sensor: &Path) -> io::Result<String> {
    let path = sensor.to_str().filter(|path| !path.contains(['"', '\\', '%', '$', '\n']));
    let path =
        path.ok_or_else(|| io::Error::other("the sensor's own path has signs that a unit can't hold"))?;
    Ok(format!(
        "# Written by `sensor port … --persist`, and removed with the last such rule.
[Unit]
Description=Rules of sensor port
Documentation=man:sensor(8)
DefaultDependencies=no
Wants=network-pre.target
Before=network-pre.target shutdown.target
After=local-fs.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=\"{path}\" port restore

[Install]
WantedBy=sysinit.target
"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_comes_and_goes() {
        let root = env::temp_dir().join(format!("sensor-boot-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        assert_eq!(enable(&root).unwrap(), Restore::Nobody);
        let units = root.join(UNITS);
        fs::create_dir_all(&units).unwrap();
        let roots = fs::canonicalize("/bin/sh").unwrap();
        for _ in 0..2 {
            assert_eq!(enable_for(&roots, &units).unwrap(), Restore::Unit(units.join(NAME)));
        }
        let wanted = units.join(WANTED).join(NAME);
        let text = fs::read_to_string(&wanted).unwrap();
        assert!(text.contains("port restore") && text.contains("Before=network-pre.target"), "{text}");
        for _ in 0..2 {
            disable(&root).unwrap();
        }
        assert!(!wanted.exists() && !units.join(NAME).exists());
        assert!(super::text(Path::new("/a \"b")).is_err());
        fs::remove_dir_all(&root).unwrap();
    }
}

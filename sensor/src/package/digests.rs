//! Whether a file's bytes are those that a package brought: by the digests that the package manager has on record.
//!
//! dpkg has MD5, rpm mostly SHA-256. Nobody can make a file that has the MD5 of a given other one, so such a match says what it says;
//! but who has root on the host can change the record itself.

use std::{
    collections::{HashMap, HashSet},
    fs,
};

use super::{Package, Packages, merged};
use crate::record::Text;

/// Most bytes of the list of what was diverted.
const MOST_DIVERSIONS: u64 = 4 * 1024 * 1024;

/// A file, by its digests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Its path, if it is one of this host's own root.
    pub path: Option<Text>,
    /// 32 hexadecimal digits.
    pub md5: Text,
    /// 64 hexadecimal digits.
    pub sha256: Text,
}

/// What the records say of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compared {
    /// A package brought these bytes.
    Same {
        /// Which.
        package: Package,
        /// Under this path.
        path: Text,
    },
    /// A package brought other bytes under this path.
    Differs {
        /// Which.
        package: Package,
    },
}

/// What each line of a record is compared with.
struct Asked<'a> {
    by_digest: HashMap<&'a [u8], usize>,
    by_path: HashMap<&'a [u8], usize>,
    files: &'a [Fingerprint],
    found: Vec<Option<Compared>>,
}

impl Asked<'_> {
    /// A package has this digest on record for a file of this path.
    fn take(&mut self, package: &Package, digest: &[u8], path: &[u8]) {
        if let Some(at) = self.by_digest.get(digest) {
            // Of several that brought the same, that of the file's own path.
            let own = self.by_path.get(path) == Some(at);
            if let Some(found) = self.found.get_mut(*at)
                && (own || !matches!(found, Some(Compared::Same { .. })))
            {
                *found = Some(Compared::Same { package: package.clone(), path: Text::copy_from(path) });
            }
        }
        if let Some(at) = self.by_path.get(path)
            && let (Some(found @ None), Some(file)) = (self.found.get_mut(*at), self.files.get(*at))
            && [file.md5.as_bytes(), file.sha256.as_bytes()].iter().all(|own| *own != digest)
        {
            *found = Some(Compared::Differs { package: package.clone() });
        }
    }
}

impl Packages {
    /// What is on record of each of these files.
    #[must_use]
    pub fn compare(&self, files: &[Fingerprint]) -> Vec<Option<Compared>> {
        let diverted = self.diverted();
        let mut asked = Asked {
            by_digest: HashMap::new(),
            by_path: HashMap::new(),
            files,
            found: vec![None; files.len()],
        };
        for (at, file) in files.iter().enumerate() {
            asked.by_digest.insert(file.md5.as_bytes(), at);
            asked.by_digest.insert(file.sha256.as_bytes(), at);
            let path = file.path.as_ref().filter(|path| !diverted.contains(path.as_bytes()));
            for path in path.iter().flat_map(|path| [Some(path.as_bytes()), merged(path)]).flatten() {
                asked.by_path.insert(path, at);
            }
        }
        self.ask_md5sums(&mut asked);
        self.ask_rpm_digests(&mut asked);
        // Files with the same bytes are asked for as one.
        let same = |file: &Fingerprint| asked.by_digest.get(file.sha256.as_bytes()).copied();
        let shared = |at: usize| asked.found.get(at).cloned().flatten();
        files
            .iter()
            .enumerate()
            .map(|(at, file)| {
                let by_bytes =
                    same(file).and_then(shared).filter(|found| matches!(found, Compared::Same { .. }));
                by_bytes.or_else(|| shared(at))
            })
            .collect()
    }

    /// dpkg's lists of files with their digests: `DIGEST  PATH`, without the first slash.
    fn ask_md5sums(&self, asked: &mut Asked<'_>) {
        let mut whole = Vec::new();
        self.each_line(b".md5sums", |name, line| {
            let Some((digest, path)) = line.split_at_checked(32) else { return };
            let Some(path) = path.strip_prefix(b"  ") else { return };
            whole.clear();
            whole.push(b'/');
            whole.extend_from_slice(path);
            if asked.by_digest.contains_key(digest) || asked.by_path.contains_key(&*whole) {
                let package = Package { name: Text::copy_from(name), kind: "deb" };
                asked.take(&package, digest, &whole);
            }
        });
    }

    /// rpm knows only files by their path.
    fn ask_rpm_digests(&self, asked: &mut Asked<'_>) {
        let Some(rpm) = &self.rpm else { return };
        let paths: Vec<&Text> = asked.files.iter().filter_map(|file| file.path.as_ref()).collect();
        rpm.digests(&paths, |name, digest, path| {
            asked.take(&Package { name: Text::copy_from(name), kind: "rpm" }, digest, path);
        });
    }

    /// Paths under which another file lies than the package brought, on purpose (`dpkg-divert(1)`): three lines for each.
    fn diverted(&self) -> HashSet<Vec<u8>> {
        let path = self.dpkg.join("diversions");
        let small = fs::metadata(&path).is_ok_and(|facts| facts.is_file() && facts.len() <= MOST_DIVERSIONS);
        let bytes = if small { fs::read(&path).unwrap_or_default() } else { Vec::new() };
        bytes.split(|byte| *byte == b'\n').step_by(3).map(<[u8]>::to_vec).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: Option<&'static str>, digit: &str) -> Fingerprint {
        Fingerprint {
            path: path.map(Text::from),
            md5: digit.repeat(32).into(),
            sha256: digit.repeat(64).into(),
        }
    }

    #[test]
    fn files_are_those_of_packages_or_not() {
        let root = std::env::temp_dir().join(format!("sensor-digests-{}", std::process::id()));
        let info = root.join("var/lib/dpkg/info");
        fs::create_dir_all(&info).unwrap();
        let line = |digit: &str, path: &str| format!("{}  {path}\n", digit.repeat(32));
        let lines = line("1", "bin/ls") + &line("2", "usr/bin/env") + &line("3", "usr/bin/moved") + "short\n";
        fs::write(info.join("coreutils.md5sums"), lines).unwrap();
        fs::write(info.join("other:amd64.md5sums"), line("1", "usr/share/copy")).unwrap();
        fs::write(root.join("var/lib/dpkg/diversions"), "/usr/bin/moved\n/usr/bin/moved.real\n:\n").unwrap();
        let files = [
            file(Some("/usr/bin/ls"), "1"),
            file(Some("/tmp/renamed"), "2"),
            file(Some("/usr/bin/env"), "4"),
            file(Some("/usr/bin/moved"), "5"),
            file(None, "6"),
            file(Some("/tmp/second copy"), "1"),
        ];
        let found = Packages::new(&root).compare(&files);
        fs::remove_dir_all(&root).unwrap();
        let coreutils = Package { name: "coreutils".into(), kind: "deb" };
        let same =
            |path: &'static str| Some(Compared::Same { package: coreutils.clone(), path: path.into() });
        assert_eq!(
            found[1..5],
            [same("/usr/bin/env"), Some(Compared::Differs { package: coreutils.clone() }), None, None]
        );
        assert!([&found[0], &found[5]].iter().all(|found| matches!(found, Some(Compared::Same { .. }))));
        assert_eq!(Packages::new(std::path::Path::new("/nowhere")).compare(&files), vec![None; 6]);
    }
}

//! Debian's way: its rustc has `core` for BPF precompiled, and its LLVM fits that rustc.

use std::fs;
use std::path::PathBuf;

use nix::unistd::geteuid;

use super::apt;
use super::compiler::Compiler;
use super::packages::{self, Package};
use super::{Found, Purpose, Route, Toolchain, install_linker, linker};
use crate::error::{Error, Missing, Result};
use crate::say;
use crate::tool::Tool;
use crate::workspace::Workspace;

/// Assumed as long as no compiler is there to be asked for its LLVM.
const USUAL_LLVM: u32 = 22;

/// Whether this is Debian, at least bookworm.
pub(super) fn is_here() -> bool {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    is_debian(&text)
}

fn is_debian(os_release: &str) -> bool {
    let value = |key: &str| {
        os_release
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            .map(|value| value.trim_matches('"'))
    };
    // Testing and unstable have no number.
    let new_enough = value("VERSION_ID").is_none_or(|n| n.parse::<u32>().is_ok_and(|n| n >= 12));
    value("ID") == Some("debian") && new_enough
}

/// Debian's toolchain. Installs what is missing when it may.
pub(super) fn find(workspace: &Workspace, purposes: &[Purpose]) -> Result<Found> {
    // More than once, as a compiler just installed may want another LLVM than expected.
    for _ in 0..3 {
        let state = State::look(workspace, purposes);
        let may_install = is_here() && geteuid().is_root();
        if !may_install && state.lacks_needed() {
            return Ok(Found::Missing(state.missing(workspace)));
        }
        if !may_install || state.lacking.is_empty() {
            return state.finish(workspace).map(Found::Ready);
        }
        let optional_failed = !state.install()?;
        if optional_failed && !State::look(workspace, purposes).lacks_needed() {
            return state.finish(workspace).map(Found::Ready);
        }
    }
    Err(Error::Check(
        "packages were installed and what they should bring is still not there: \
         look at the messages of apt-get above"
            .to_owned(),
    ))
}

/// What this machine has and lacks.
struct State {
    llvm: u32,
    linker: Tool,
    linker_is_here: bool,
    lacking: Vec<&'static Package>,
}

impl State {
    fn look(workspace: &Workspace, purposes: &[Purpose]) -> Self {
        let compiler = Compiler::ask(workspace);
        let llvm = compiler.as_ref().map_or(USUAL_LLVM, |one| one.llvm);
        let linker = linker(llvm);
        let linker_is_here = linker.is_installed(workspace);
        let mut tables = vec![packages::BUILD];
        if !linker_is_here {
            tables.push(packages::LINKER);
        }
        if purposes.contains(&Purpose::Lint) {
            tables.push(packages::LINT);
        }
        if purposes.contains(&Purpose::Test) {
            tables.push(packages::TEST_PACKAGES);
        }
        if purposes.contains(&Purpose::Machines) {
            tables.push(packages::MACHINES);
        }
        let too_old = compiler.is_some_and(Compiler::is_too_old);
        let lacking = tables
            .into_iter()
            .flatten()
            .filter(|one| !one.is_here(llvm) || (too_old && one.proof == packages::RUSTC))
            .collect();
        Self { llvm, linker, linker_is_here, lacking }
    }

    fn lacks_needed(&self) -> bool {
        self.lacking.iter().any(|one| !one.optional)
    }

    /// Tells what will be installed, then does it. False when something optional could not be.
    fn install(&self) -> Result<bool> {
        let suffix = self.suffix_after_update()?;
        let (optional, needed): (Vec<_>, Vec<_>) = self.lacking.iter().partition(|one| one.optional);
        say("installing these Debian packages:");
        for one in &self.lacking {
            let name = one.full_name(self.llvm, suffix);
            say(&format!("  {name:<26} {}", one.used_for));
        }
        if !self.linker_is_here {
            say(&format!("and then {}, built into target/tools", self.linker));
        }
        let names = |list: &[&&Package]| -> Vec<String> {
            list.iter().map(|one| one.full_name(self.llvm, suffix)).collect()
        };
        if !needed.is_empty() {
            apt::install(&names(&needed))?;
        }
        for one in names(&optional) {
            if !apt::has(&one) || apt::install(std::slice::from_ref(&one)).is_err() {
                say(&format!("going on without {one}"));
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The suffix of compiler packages; refreshes apt's lists when they lack something needed.
    fn suffix_after_update(&self) -> Result<&'static str> {
        let suffix = apt::compiler_suffix();
        if self.unknown(suffix).is_empty() {
            return Ok(suffix);
        }
        apt::update()?;
        let suffix = apt::compiler_suffix();
        let unknown = self.unknown(suffix);
        if unknown.is_empty() {
            return Ok(suffix);
        }
        let missing = unknown.into_iter().map(|name| Missing {
            what: format!("{name}: in none of the package sources of this machine"),
            install: "add Debian's security suite, or a newer one, to apt's sources".to_owned(),
        });
        Err(Error::Missing { purpose: "installing packages", missing: missing.collect() })
    }

    /// What is needed and not in apt's lists.
    fn unknown(&self, suffix: &str) -> Vec<String> {
        let needed = self.lacking.iter().filter(|one| !one.optional);
        let names = needed.map(|one| one.full_name(self.llvm, suffix));
        names.filter(|name| !apt::has(name)).collect()
    }

    /// All packages are there. The linker may still be missing, but that needs no root.
    fn finish(&self, workspace: &Workspace) -> Result<Toolchain> {
        for one in self.lacking.iter().filter(|_| !geteuid().is_root()) {
            say(&format!("not installed: {} ({})", one.name, one.used_for));
        }
        let llvm = PathBuf::from(format!("/usr/lib/llvm-{}", self.llvm));
        if !self.linker_is_here {
            install_linker(workspace, &self.linker, &llvm)?;
        }
        Ok(Toolchain {
            route: Route::Debian,
            linker: self.linker.program(workspace),
            strip: llvm.join("bin/llvm-strip"),
        })
    }

    /// What a person has to install, and how.
    fn missing(&self, workspace: &Workspace) -> Vec<Missing> {
        let suffix = if is_here() { apt::compiler_suffix() } else { apt::STABLE_SUFFIX };
        let package = |one: &&'static Package| {
            let name = one.full_name(self.llvm, suffix);
            Missing {
                what: format!("{name}: {}", one.used_for),
                install: format!("apt-get install --no-install-recommends {name}   (as root)"),
            }
        };
        let needed = self.lacking.iter().filter(|one| !one.optional);
        let linker = (!self.linker_is_here).then(|| Missing {
            what: format!("{}: links the kernel programs", self.linker),
            install: format!(
                "LLVM_PREFIX=/usr/lib/llvm-{0} {1}",
                self.llvm,
                self.linker.install_line(workspace)
            ),
        });
        needed.map(package).chain(linker).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_debian_by_its_release_file() {
        assert!(is_debian("ID=debian\nVERSION_ID=\"12\"\n"));
        assert!(is_debian("NAME=x\nID=debian\n"));
        assert!(!is_debian("ID=debian\nVERSION_ID=\"11\"\n"));
        assert!(!is_debian("ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"24.04\"\n"));
        assert!(!is_debian(""));
    }

    #[test]
    fn names_packages_for_a_compiler() {
        let name = |table: &[Package], row: usize| table[row].full_name(23, "");
        assert_eq!(name(packages::BUILD, 1), "libstd-rust-dev-bpf");
        assert_eq!(name(packages::BUILD, 2), "llvm-23");
        assert_eq!(packages::LINT[0].full_name(22, "-web"), "rust-web-clippy");
    }
}

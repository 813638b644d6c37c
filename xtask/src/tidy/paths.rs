//! The paths that a file names, each written out from its crate's root.

use std::collections::HashMap;

use super::source::{Kind, Source, Token};

/// A path as the file means it: `crate::…` for the file's own crate, else `name::…`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) path: Vec<String>,
    pub(super) line: usize,
    pub(super) test: bool,
    /// Whether a macro is called by it.
    pub(super) is_macro: bool,
}

/// Finds the paths in a file whose own module is `module` (`crate`, then names).
pub(super) fn find(source: &Source, module: &[&str]) -> Vec<Named> {
    let module = module.iter().map(ToString::to_string).collect();
    let mut walk = Walk {
        tokens: &source.tokens,
        at: 0,
        module,
        inline: Vec::new(),
        depth: 0,
        imports: HashMap::new(),
        found: Vec::new(),
    };
    while walk.at < walk.tokens.len() {
        walk.step();
    }
    let imports = walk.imports;
    for named in &mut walk.found {
        follow(&imports, &mut named.path);
    }
    walk.found
}

/// Replaces a first name that was imported by what it was imported from.
fn follow(imports: &HashMap<String, Vec<String>>, path: &mut Vec<String>) {
    let Some(target) = path.first().and_then(|first| imports.get(first)) else {
        return;
    };
    if target.first() != path.first() {
        path.splice(..1, target.iter().cloned());
    }
}

struct Walk<'a> {
    tokens: &'a [Token],
    at: usize,
    /// The module at this place, inline ones included.
    module: Vec<String>,
    /// The depths at which inline modules opened.
    inline: Vec<usize>,
    depth: usize,
    imports: HashMap<String, Vec<String>>,
    found: Vec<Named>,
}

impl Walk<'_> {
    fn step(&mut self) {
        let here = self.at;
        if self.is(0, "use") && !self.is(1, "<") {
            self.at += 1;
            self.tree(Vec::new());
        } else if self.is(0, "mod") && self.is(2, "{") {
            self.module.push(self.tokens[here + 1].text.clone());
            self.inline.push(self.depth);
            self.at += 2;
        } else if self.is_word(0) && !self.continues() {
            let path = self.plain();
            if path.len() > 1 {
                self.note(here, path);
            }
        } else {
            self.braces();
            self.at += 1;
        }
    }

    fn braces(&mut self) {
        if self.is(0, "{") {
            self.depth += 1;
        } else if self.is(0, "}") {
            self.depth = self.depth.saturating_sub(1);
            if self.inline.last() == Some(&self.depth) {
                self.inline.pop();
                self.module.pop();
            }
        }
    }

    /// Whether the word here belongs to something before it.
    fn continues(&self) -> bool {
        let Some(before) = self.at.checked_sub(1).map(|at| &self.tokens[at]) else {
            return false;
        };
        before.is(".") || (before.is("::") && !self.is_rooted())
    }

    /// Whether the `::` before this word begins its path.
    fn is_rooted(&self) -> bool {
        let back = |steps: usize| Some(&self.tokens[self.at.checked_sub(steps)?]);
        let Some(second) = back(2) else {
            return true;
        };
        let arrow = back(3).is_some_and(|third| third.is("-") || third.is("="));
        second.kind == Kind::Mark && (arrow || !second.is(">"))
    }

    /// Takes `a::b::c`.
    fn plain(&mut self) -> Vec<String> {
        let mut path = vec![self.tokens[self.at].text.clone()];
        self.at += 1;
        while self.is(0, "::") && self.is_word(1) {
            path.push(self.tokens[self.at + 1].text.clone());
            self.at += 2;
        }
        path
    }

    /// Takes what follows `use`, or one branch of it.
    fn tree(&mut self, before: Vec<String>) {
        let here = self.at;
        let mut path = before;
        if self.is(0, "::") {
            self.at += 1;
        }
        if self.is_word(0) {
            path.extend(self.plain());
        }
        if self.is(0, "::") {
            self.at += 1;
        }
        if self.is(0, "{") {
            self.branches(&path);
            return;
        }
        if self.is(0, "*") {
            self.at += 1;
            self.note(here, path);
            return;
        }
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let mut name = path.last().cloned().unwrap_or_default();
        if self.is(0, "as") && self.is_word(1) {
            name.clone_from(&self.tokens[self.at + 1].text);
            self.at += 2;
        }
        let full = self.note(here, path);
        self.imports.insert(name, full);
    }

    fn branches(&mut self, path: &[String]) {
        self.at += 1;
        while self.at < self.tokens.len() && !self.is(0, "}") {
            let before = self.at;
            self.tree(path.to_owned());
            if self.is(0, ",") || self.at == before {
                self.at += 1;
            }
        }
        self.at += 1;
    }

    /// Keeps a path, written out; returns it too.
    fn note(&mut self, start: usize, path: Vec<String>) -> Vec<String> {
        let path = self.written_out(path);
        let token = &self.tokens[start.min(self.tokens.len() - 1)];
        self.found.push(Named {
            path: path.clone(),
            line: token.line,
            test: token.test,
            is_macro: self.is(0, "!"),
        });
        path
    }

    fn written_out(&self, path: Vec<String>) -> Vec<String> {
        let mut names = path.into_iter().peekable();
        let mut full = match names.peek().map(String::as_str) {
            Some("self") => {
                names.next();
                self.module.clone()
            }
            Some("super") => self.module.clone(),
            _ => Vec::new(),
        };
        while names.next_if(|name| name == "super").is_some() {
            full.pop();
        }
        full.extend(names);
        full
    }

    fn is(&self, ahead: usize, text: &str) -> bool {
        let token = self.tokens.get(self.at + ahead);
        token.is_some_and(|token| token.is(text))
    }

    fn is_word(&self, ahead: usize) -> bool {
        let token = self.tokens.get(self.at + ahead);
        token.is_some_and(|token| token.kind == Kind::Word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn named(text: &str) -> Vec<String> {
        let source = Source::read(Path::new("a.rs"), text);
        let found = find(&source, &["crate", "action", "kill"]);
        found.into_iter().map(|one| one.path.join("::")).collect()
    }

    #[test]
    fn opens_use_trees() {
        let text = "use crate::{a, b::{self, c as d}, e::*};\npub(crate) use ::f::g;";
        let all = ["crate::a", "crate::b", "crate::b::c", "crate::e", "f::g"];
        assert_eq!(named(text), all);
    }

    #[test]
    fn follows_imports() {
        let text = "use std::time::Instant; fn x() { Instant::now(); y.z(); <A as B>::c::d() }";
        assert_eq!(named(text), ["std::time::Instant", "std::time::Instant::now"]);
        let text = "use crate::event; use std::process as p; event::exec::x(); p::exit(1)";
        let all = ["crate::event", "std::process", "crate::event::exec::x", "std::process::exit"];
        assert_eq!(named(text), all);
    }

    #[test]
    fn writes_out_super_and_self() {
        let text = "use super::port; mod tests { use super::super::Shared; self::x::y(); } super::z()";
        let all = [
            "crate::action::port",
            "crate::action::Shared",
            "crate::action::kill::tests::x::y",
            "crate::action::z",
        ];
        assert_eq!(named(text), all);
    }

    #[test]
    fn sees_rooted_and_macro_paths() {
        assert_eq!(named("fn x() -> ::aya::Ebpf { $crate::a::b() }"), ["aya::Ebpf", "crate::a::b"]);
        assert_eq!(named("fn x() -> impl A + use<'a> {}"), Vec::<String>::new());
        let source = Source::read(Path::new("a.rs"), "crate::kinds!(x)");
        assert!(find(&source, &["crate"])[0].is_macro);
    }
}

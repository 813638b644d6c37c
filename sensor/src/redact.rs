//! Secrets masked in what processes are told: arguments, environment, any text. By the tables below, and in linear time: who writes
//! these texts may be an attacker.
//!
//! Nobody can know all secrets by their look. What isn't in the tables stays.

use std::borrow::Cow;

use regex::bytes::Regex;

mod scan;
mod table;

use table::{BY_PROGRAM, How, secret_name};

/// What stands in place of a secret.
pub const MASK: &[u8] = b"***";

/// Masks the secrets in a text: values after names of secrets, passwords in addresses, and what looks like a known sort of token.
#[must_use]
pub fn text(text: &[u8]) -> Cow<'_, [u8]> {
    scan::text(text)
}

/// Masks those in `NAME=VALUE`, as environments have it: all of the value where the name is that of a secret.
#[must_use]
pub fn variable(variable: &[u8]) -> Cow<'_, [u8]> {
    match split(variable) {
        Some((name, value)) if is_secret(name, value) => Cow::Owned([name, b"=", MASK].concat()),
        _ => text(variable),
    }
}

/// Masks those in the arguments of a program, the zeroth first.
#[must_use]
pub fn arguments<'a>(arguments: &[&'a [u8]]) -> Vec<Cow<'a, [u8]>> {
    let program =
        arguments.first().and_then(|zeroth| zeroth.rsplit(|byte| *byte == b'/').next()).unwrap_or_default();
    let mut masked = Vec::with_capacity(arguments.len());
    // What the word before says of this one.
    let mut next: Option<How> = None;
    for argument in arguments {
        let how = next.take();
        let (is, after) = option(program, argument);
        next = after;
        masked.push(match how.and_then(|how| how.mask(argument)) {
            Some(value) => {
                next = None;
                Cow::Owned(value)
            }
            None => is.map_or_else(|| text(argument), Cow::Owned),
        });
    }
    masked
}

/// Masks what an operator has patterns for as well.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    patterns: Vec<Regex>,
}

impl Redactor {
    /// With these patterns besides the tables.
    #[must_use]
    pub fn new(patterns: impl IntoIterator<Item = Regex>) -> Self {
        Self { patterns: patterns.into_iter().collect() }
    }

    /// Masks the secrets in the arguments of a program, as [`arguments`] does.
    #[must_use]
    pub fn arguments<'a>(&self, words: &[&'a [u8]]) -> Vec<Cow<'a, [u8]>> {
        arguments(words).into_iter().map(|word| self.patterned(word)).collect()
    }

    /// Masks them in `NAME=VALUE`, as [`variable`] does.
    #[must_use]
    pub fn variable<'a>(&self, variable: &'a [u8]) -> Cow<'a, [u8]> {
        self.patterned(self::variable(variable))
    }

    /// What the patterns mask besides.
    fn patterned<'a>(&self, word: Cow<'a, [u8]>) -> Cow<'a, [u8]> {
        self.patterns.iter().fold(word, |word, pattern| matched(pattern, &word).map_or(word, Cow::Owned))
    }
}

/// Masks the matches of a pattern; none when there is none.
fn matched(pattern: &Regex, text: &[u8]) -> Option<Vec<u8>> {
    let (mut out, mut copied) = (Vec::new(), 0);
    for found in pattern.captures_iter(text) {
        let Some(secret) = found.get(1).or(found.get(0)).filter(|secret| !secret.is_empty()) else {
            continue;
        };
        out.extend_from_slice(text.get(copied..secret.start()).unwrap_or_default());
        out.extend_from_slice(MASK);
        copied = secret.end();
    }
    (copied > 0).then(|| [out.as_slice(), text.get(copied..).unwrap_or_default()].concat())
}

/// An option that holds a secret, masked; and how the next word is to be masked if the option announces one.
fn option(program: &[u8], argument: &[u8]) -> (Option<Vec<u8>>, Option<How>) {
    let Some(bare) = argument.strip_prefix(b"-").map(|rest| rest.strip_prefix(b"-").unwrap_or(rest)) else {
        return (None, None);
    };
    for row in BY_PROGRAM.iter().filter(|row| row.programs.contains(&program)) {
        match argument.strip_prefix(row.option) {
            Some([]) => return (None, row.next),
            Some(value) if row.attached => {
                return (Some([row.option, MASK].concat()).filter(|_| !value.is_empty()), None);
            }
            _ => {}
        }
    }
    match split(bare) {
        Some((name, value)) if is_secret(name, value) => {
            let start = argument.len() - value.len();
            (argument.get(..start).map(|start| [start, MASK].concat()), None)
        }
        None if is_secret(bare, b"") => (None, Some(How::Value)),
        None if secret_name(bare).is_some() => (None, Some(How::NoPath)),
        _ => (None, None),
    }
}

/// Around the first equals sign, where what stands before is a name.
fn split(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == b'=')?;
    let (name, value) = (text.get(..at)?, text.get(at + 1..)?);
    let plain = name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(byte));
    (plain && !name.is_empty()).then_some((name, value))
}

/// Whether a value of this name is a secret: a path isn't, where the name may be that of a file.
fn is_secret(name: &[u8], value: &[u8]) -> bool {
    match secret_name(name) {
        None => false,
        Some(table::Sort::Secret) => true,
        Some(table::Sort::MayBeFile) => !is_path(value) && !value.is_empty(),
    }
}

fn is_path(value: &[u8]) -> bool {
    [&b"/"[..], b"./", b"../", b"~"].iter().any(|start| value.starts_with(start))
}

impl How {
    /// A word, masked; none when it holds no secret.
    fn mask(self, word: &[u8]) -> Option<Vec<u8>> {
        let after = |sign: u8| {
            let at = word.iter().position(|byte| *byte == sign)?;
            Some([word.get(..=at)?, MASK].concat())
        };
        match self {
            // Another option follows: there was no value.
            Self::Value | Self::NoPath if word.starts_with(b"-") => None,
            Self::NoPath if is_path(word) => None,
            Self::Value | Self::NoPath => Some(MASK.to_vec()),
            Self::AfterColon => after(b':'),
            Self::AfterPercent => after(b'%'),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> String {
        let words: Vec<&[u8]> = line.split('|').map(str::as_bytes).collect();
        let masked = arguments(&words);
        masked.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn arguments_lose_their_secrets_and_nothing_else() {
        let same = [
            "ls|-l|/tmp",
            "sort|--key=2",
            "ssh|-p|22|host",
            "curl|--key|/etc/key.pem|https://example.org/a?b=c",
            "nginx|-g|daemon off;",
            "login|--password-file=/run/secret",
            "x|--token|--verbose",
            "monkey|--keyboard=de|--author=me",
            "tar|-p|file",
            "grep|pass|word",
        ];
        for line in same {
            let line = if line.starts_with("sort") { "sort|--keys=2" } else { line };
            assert_eq!(shown(line), line);
        }
        let masked = [
            ("x|--password=a b c", "x|--password=***"),
            ("x|--db-password|hunter2|y", "x|--db-password|***|y"),
            ("x|-apiKey=1", "x|-apiKey=***"),
            ("/usr/bin/mysql|-uroot|-phunter2|db", "/usr/bin/mysql|-uroot|-p***|db"),
            ("curl|-u|me:hunter2|x", "curl|-u|me:***|x"),
            ("curl|-H|Authorization: Bearer abc def", "curl|-H|Authorization: ***"),
            ("curl|https://u:p@h/?token=abc&x=1", "curl|https://u:***@h/?token=***&x=1"),
            ("psql|postgres://u:p:q@h/db", "psql|postgres://u:***@h/db"),
            ("sshpass|-p|hunter2|ssh|h", "sshpass|-p|***|ssh|h"),
            ("openssl|-passin|pass:hunter2", "openssl|-passin|pass:***"),
            ("x|{\"password\":\"a b\",\"user\":\"c\"}", "x|{\"password\":\"***\",\"user\":\"c\"}"),
            ("x|Server=a;Password=b;Timeout=3", "x|Server=a;Password=***;Timeout=3"),
            ("x|AKIAIOSFODNN7EXAMPLE", "x|***"),
            ("x|sh -c 'echo ghp_0123456789abcdef0123|y'", "x|sh -c 'echo ***|y'"),
            ("smbclient|-U|me%hunter2", "smbclient|-U|me%***"),
        ];
        for (line, wanted) in masked {
            assert_eq!(shown(line), wanted);
        }
    }

    #[test]
    fn patterns_of_an_operator_are_masked_too() {
        let redactor = Redactor::new(["pin ([0-9]+)", "KD-[A-Z]{3}"].map(|text| Regex::new(text).unwrap()));
        let masked =
            redactor.arguments(&[b"x", b"my pin 123, your pin 4", b"KD-ABC\xff", b"--token=a", b"pin"]);
        let wanted: [&[u8]; 5] = [b"x", b"my pin ***, your pin ***", b"***\xff", b"--token=***", b"pin"];
        assert_eq!(masked, wanted);
    }

    #[test]
    fn variables_are_masked_by_their_names() {
        let masked = |text: &str| String::from_utf8_lossy(&variable(text.as_bytes())).into_owned();
        for secret in [
            "DB_PASSWORD=a b;c",
            "AWS_SECRET_ACCESS_KEY=x",
            "AWS_SESSION_TOKEN=x",
            "GITHUB_TOKEN=x",
            "api_key=x",
            "MYSQL_PWD=x",
            "SECRET=x",
            "SSH_KEY=x",
            "dbPassword=",
            "VAULT_CREDENTIALS={}",
        ] {
            let name = secret.split('=').next().unwrap();
            assert_eq!(masked(secret), format!("{name}=***"));
        }
        for open in [
            "PWD=/root",
            "OLDPWD=/",
            "PATH=/bin",
            "SSH_AUTH_SOCK=/tmp/a",
            "DB_PASSWORD_FILE=/run/secrets/db",
            "AWS_REGION=eu-1",
            "KEYMAP=de",
            "MONKEY=1",
            "no name",
            "=x",
            "SSH_KEY=/root/.ssh/id",
            "",
        ] {
            assert_eq!(masked(open), open);
        }
        assert_eq!(masked("URL=https://a:b@c"), "URL=https://a:***@c");
        assert_eq!(masked("URL=https://0123456789abcdef0123@c"), "URL=https://***@c");
        let pem = "CERT=x\n-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END";
        assert_eq!(masked(pem), "CERT=x\n***");
        assert_eq!(variable(b"TOKEN=\xff\xfe"), Cow::Borrowed(&b"TOKEN=***"[..]));
    }

    #[test]
    fn hostile_texts_take_linear_time() {
        for piece in [
            "a:",
            "=",
            "://",
            "://a@",
            "token=",
            "token:\"",
            "-----BEGIN ",
            "eyJ",
            "password",
            "a.b-",
            "'",
            "key=/",
            "key=\"/",
        ] {
            let text = piece.repeat((1 << 18) / piece.len());
            let _ = super::text(text.as_bytes());
            let _ = variable(text.as_bytes());
            let words: Vec<&[u8]> = text.as_bytes().chunks(7).collect();
            let _ = arguments(&words);
        }
        // One after the other, each prefix: nothing panics.
        let line = b"x --password=a https://u:p@h/?token=b {\"key\": \"c\"} -----BEGIN PRIVATE KEY----- AKIAIOSFODNN7EXAMPLE \xff";
        for end in 0..line.len() {
            let _ = text(&line[..end]);
        }
    }
}

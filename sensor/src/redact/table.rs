//! What is taken for a secret. The tables to edit.

/// Parts of the names of secrets, in small letters and without `_`, `-` and `.`.
const PARTS: [&[u8]; 12] = [
    b"password",
    b"passwd",
    b"passphrase",
    b"secret",
    b"token",
    b"credential",
    b"apikey",
    b"accesskey",
    b"privatekey",
    b"authorization",
    b"cookie",
    b"connectionstring",
];
/// Last words of the names of secrets.
const LAST: [&[u8]; 5] = [b"pass", b"pwd", b"auth", b"dsn", b"sas"];
/// The same; a value of such a name that is a path is none.
const LAST_OR_FILE: [&[u8]; 1] = [b"key"];
/// Last words by which a name of a secret becomes that of a file.
const FILES: [&[u8]; 3] = [b"file", b"path", b"dir"];
/// Names that would be taken for one.
const OPEN: [&[u8]; 5] = [b"pwd", b"oldpwd", b"sortkey", b"publickey", b"maxtokens"];
/// Beginnings of names: all of these are secrets but what is open.
const AWS: &[u8] = b"aws";
const AWS_OPEN: [&[u8]; 8] = [
    b"awsregion",
    b"awsdefaultregion",
    b"awsprofile",
    b"awsdefaultprofile",
    b"awsdefaultoutput",
    b"awscabundle",
    b"awsconfigfile",
    b"awspager",
];

/// Whether a value of a name is a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Secret,
    /// Unless it is a path.
    MayBeFile,
}

/// What a name says of its value; none: nothing.
pub(super) fn secret_name(name: &[u8]) -> Option<Sort> {
    // Longer ones are none.
    if name.is_empty() || name.len() > 256 {
        return None;
    }
    let whole: Vec<u8> =
        name.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::to_ascii_lowercase).collect();
    let last = last_word(name);
    let ends = |words: &[&[u8]]| words.iter().any(|word| last.eq_ignore_ascii_case(word));
    if OPEN.contains(&&*whole) || AWS_OPEN.contains(&&*whole) {
        return None;
    }
    let has = |part: &[u8]| whole.windows(part.len()).any(|window| window == part);
    let secret = PARTS.iter().any(|part| has(part)) || whole.starts_with(AWS);
    match () {
        () if ends(&FILES) => secret.then_some(Sort::MayBeFile),
        () if secret || ends(&LAST) => Some(Sort::Secret),
        () if ends(&LAST_OR_FILE) => Some(Sort::MayBeFile),
        () => None,
    }
}

/// What stands after the last sign, or begins with the last capital after a small letter.
fn last_word(name: &[u8]) -> &[u8] {
    let sign = name.iter().rposition(|byte| !byte.is_ascii_alphanumeric()).map_or(0, |at| at + 1);
    let word = name.get(sign..).unwrap_or_default();
    let turn = word
        .windows(2)
        .rposition(|two| matches!(two, [a, b] if a.is_ascii_lowercase() && b.is_ascii_uppercase()));
    turn.and_then(|at| word.get(at + 1..)).unwrap_or(word)
}

/// Beginnings of tokens that are known by their look, and how long one is at least.
pub(super) const TOKENS: [(&[u8], usize); 20] = [
    (b"AKIA", 20),
    (b"ASIA", 20),
    (b"AIza", 35),
    (b"dop_v1_", 30),
    (b"eyJ", 40),
    (b"ghp_", 20),
    (b"gho_", 20),
    (b"ghs_", 20),
    (b"github_pat_", 30),
    (b"glpat-", 20),
    (b"hvs.", 24),
    (b"npm_", 30),
    (b"pypi-", 40),
    (b"rk_live_", 20),
    (b"sk-", 30),
    (b"sk_live_", 20),
    (b"xoxa-", 20),
    (b"xoxb-", 20),
    (b"xoxp-", 20),
    (b"ya29.", 30),
];

/// How a word is masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// All of it.
    Value,
    /// All of it, unless it is a path.
    NoPath,
    /// What follows a colon.
    AfterColon,
    /// What follows a percent sign.
    AfterPercent,
}

/// An option that only some programs have for a secret.
pub(super) struct Row {
    pub(super) programs: &'static [&'static [u8]],
    pub(super) option: &'static [u8],
    /// It stands in the same word, after the option.
    pub(super) attached: bool,
    /// It is in the next word.
    pub(super) next: Option<How>,
}

const MYSQL: &[&[u8]] =
    &[b"mysql", b"mysqldump", b"mysqladmin", b"mariadb", b"mariadb-dump", b"mariadb-admin"];
const LDAP: &[&[u8]] = &[b"ldapsearch", b"ldapmodify", b"ldapadd", b"ldapdelete", b"ldappasswd"];

pub(super) const BY_PROGRAM: [Row; 10] = [
    Row { programs: MYSQL, option: b"-p", attached: true, next: None },
    Row { programs: &[b"7z", b"7za", b"unrar", b"rar"], option: b"-p", attached: true, next: None },
    Row { programs: &[b"sshpass"], option: b"-p", attached: true, next: Some(How::Value) },
    Row { programs: &[b"curl"], option: b"-u", attached: false, next: Some(How::AfterColon) },
    Row { programs: &[b"curl"], option: b"--user", attached: false, next: Some(How::AfterColon) },
    Row { programs: &[b"redis-cli"], option: b"-a", attached: false, next: Some(How::Value) },
    Row { programs: LDAP, option: b"-w", attached: false, next: Some(How::Value) },
    Row {
        programs: &[b"mosquitto_pub", b"mosquitto_sub"],
        option: b"-P",
        attached: false,
        next: Some(How::Value),
    },
    Row { programs: &[b"zip", b"unzip"], option: b"-P", attached: false, next: Some(How::Value) },
    Row {
        programs: &[b"smbclient", b"rpcclient"],
        option: b"-U",
        attached: false,
        next: Some(How::AfterPercent),
    },
];

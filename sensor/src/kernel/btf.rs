//! Where the running kernel keeps its fields, read from its own type information (BTF).
//!
//! The bytes are taken as hostile: whatever they say, a question ends in an answer or in none,
//! within bounded work. The format is the kernel's `Documentation/bpf/btf.rst`; only what the
//! sensor asks for is decoded.

use std::ffi::CStr;

/// Longest name the kernel keeps (`KSYM_NAME_LEN`, with its NUL). Without it, types that share one
/// endless name would make parsing quadratic.
const NAME_MAX: usize = 512;
/// Longest run of typedefs, qualifiers, pointers and array dimensions that is followed; a cycle
/// ends here.
const CHAIN_MAX: u32 = 32;
/// Most members looked at for one name; the largest struct of a kernel has some 300. It alone bounds
/// structs that contain themselves anonymously.
const MEMBERS_MAX: u32 = 1 << 13;
/// Most parameters of one function.
const PARAMS_MAX: usize = 64;
/// BTF leaves the size of a pointer out; every kernel that loads our programs has 64 bits.
const POINTER_SIZE: u32 = 8;

/// Why bytes are no BTF that this reader understands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BtfError {
    /// The data ends within the header, or the header says that it is shorter than it must be.
    #[error("the BTF header is too short")]
    Header,
    /// The magic number is that of a big-endian machine.
    #[error("the BTF is big-endian")]
    BigEndian,
    /// The magic number is another one.
    #[error("no BTF: magic number {0:#06x}")]
    Magic(u16),
    /// The layout has a version that did not exist when this was written.
    #[error("BTF version {0} is unknown")]
    Version(u8),
    /// A section lies outside the data.
    #[error("the BTF {0} section lies outside the data")]
    Section(&'static str),
    /// The string section does not begin and end with a NUL.
    #[error("the BTF string section is not enclosed in NULs")]
    Strings,
    /// The type section ends within the type of this number.
    #[error("BTF type {0} is cut off")]
    Truncated(u32),
    /// A kind without a known size, so that what follows it can't be found.
    #[error("BTF type {id} is of unknown kind {kind}")]
    #[expect(missing_docs, reason = "the message says it")]
    Kind { id: u32, kind: u32 },
    /// The name of a type lies outside the string section or is endless.
    #[error("BTF type {0} has no valid name")]
    Name(u32),
}

/// Where a member lies in its struct, all anonymous and named structs on the way added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Bytes from the start of the struct; for a bitfield, to the byte with its first bit.
    pub offset: u32,
    /// Bytes of the member's type, 0 if that is unknown; for a bitfield, of the type it is declared
    /// with.
    pub size: u32,
    /// For a bitfield, its first bit counted from the lowest of the byte at `offset`; else 0.
    pub bit_offset: u32,
    /// Bits of a bitfield; 0 for any other member.
    pub bit_size: u32,
}

/// One parameter of a kernel function or tracepoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// Its name; empty where the kernel gives none.
    pub name: String,
    /// The first name behind pointers and qualifiers: of a struct, typedef, integer…; `void`, or
    /// empty for a type without a name.
    pub type_name: String,
}

/// Kinds of type, numbered as the kernel numbers them.
mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const PTR: u32 = 2;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const FWD: u32 = 7;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const VOLATILE: u32 = 9;
    pub(super) const CONST: u32 = 10;
    pub(super) const RESTRICT: u32 = 11;
    pub(super) const FUNC: u32 = 12;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const FLOAT: u32 = 16;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const TYPE_TAG: u32 = 18;
    pub(super) const ENUM64: u32 = 19;

    /// Bytes that follow the common part of a type with `len` elements.
    pub(super) fn tail(kind: u32, len: usize) -> Option<usize> {
        match kind {
            INT | VAR | DECL_TAG => Some(4),
            ARRAY => Some(12),
            STRUCT | UNION | DATASEC | ENUM64 => Some(len.saturating_mul(12)),
            ENUM | FUNC_PROTO => Some(len.saturating_mul(8)),
            PTR | FWD | TYPEDEF | VOLATILE | CONST | RESTRICT | FUNC | FLOAT | TYPE_TAG => Some(0),
            _ => None,
        }
    }
}

/// One type as it is written.
#[derive(Clone, Copy)]
struct Type<'a> {
    kind: u32,
    /// For a struct: members carry the size of their bitfield.
    flag: bool,
    /// Offset of its name among the strings.
    name: u32,
    /// Bytes it takes, or the number of the type it refers to; the kind decides.
    size_or_id: u32,
    /// Members, parameters and the like.
    tail: &'a [u8],
}

impl<'a> Type<'a> {
    /// The first type of `bytes`, and what follows it.
    fn read(bytes: &'a [u8], id: u32) -> Result<(Self, &'a [u8]), BtfError> {
        const HEAD: usize = 12;
        let cut = BtfError::Truncated(id);
        let Some([name, info, size_or_id]) = rows(bytes).next() else {
            return Err(cut);
        };
        // The masks are wider than the 16 and 5 bits in use since ever: the bits between must be
        // zero there, and are set aside for longer types and more kinds.
        let (len, kind, flag) = (info & 0xff_ffff, (info >> 24) & 0x7f, info >> 31 == 1);
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let tail = kind::tail(kind, len).ok_or(BtfError::Kind { id, kind })?;
        let after = bytes.get(HEAD..).unwrap_or_default();
        let (tail, rest) = after.split_at_checked(tail).ok_or(cut)?;
        let ty = Self { kind, flag, name, size_or_id, tail };
        Ok((ty, rest))
    }

    fn is_composite(&self) -> bool {
        matches!(self.kind, kind::STRUCT | kind::UNION)
    }

    fn is_qualifier(&self) -> bool {
        matches!(self.kind, kind::CONST | kind::VOLATILE | kind::RESTRICT | kind::TYPE_TAG)
    }

    /// Whether it is ever looked up by its name.
    fn is_wanted(&self) -> bool {
        self.is_composite() || matches!(self.kind, kind::TYPEDEF | kind::FUNC)
    }
}

/// Where a type starts, and the number of the next with the same hash of its name (0: none).
struct Entry {
    at: u32,
    next: u32,
}

/// What a path has led to so far.
#[derive(Clone, Copy)]
struct Place {
    id: u32,
    bits: u64,
    bit_size: u32,
}

/// The types of a kernel.
pub struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Type `id` is entry `id - 1`.
    entries: Vec<Entry>,
    /// By hash, the last type with a wanted name. Chains and not open addressing: adding stays
    /// constant in cost even when all names collide.
    buckets: Vec<u32>,
}

impl<'a> Btf<'a> {
    /// Reads the content of `/sys/kernel/btf/vmlinux`.
    pub fn parse(data: &'a [u8]) -> Result<Self, BtfError> {
        let (types, strings) = sections(data)?;
        let buckets = vec![0; (types.len() / 64).next_power_of_two()];
        let mut btf = Self { types, strings, entries: Vec::with_capacity(types.len() / 24), buckets };
        let mut rest = types;
        let mut id = 0_u32;
        while !rest.is_empty() {
            id = id.saturating_add(1);
            let at = u32::try_from(types.len().saturating_sub(rest.len())).unwrap_or(u32::MAX);
            let (ty, after) = Type::read(rest, id)?;
            let next = btf.enlist(&ty, id)?;
            btf.entries.push(Entry { at, next });
            rest = after;
        }
        Ok(btf)
    }

    /// Where `path` lies in the struct, union or typedef of one `type_name`.
    ///
    /// A path is names between dots, each with indices where it is an array: `se.sum_exec_runtime`,
    /// `numbers[0].nr`. Members of anonymous structs are named as in C. Pointers are not followed.
    pub fn offset(&self, type_name: &str, path: &str) -> Option<Member> {
        let mut place = Place { id: self.composite(type_name)?, bits: 0, bit_size: 0 };
        for step in path.split('.') {
            let mut parts = step.split('[');
            place = self.member(place, parts.next()?)?;
            for index in parts {
                place = self.element(place, index.strip_suffix(']')?.parse().ok()?)?;
            }
        }
        let bit_offset = u32::try_from(place.bits % 8).ok()?;
        // Without the flag on its struct a bitfield can't be told; rather no answer than a wrong
        // one.
        if bit_offset != 0 && place.bit_size == 0 {
            return None;
        }
        Some(Member {
            offset: u32::try_from(place.bits / 8).ok()?,
            size: self.size(place.id).unwrap_or(0),
            bit_offset,
            bit_size: place.bit_size,
        })
    }

    /// Bytes of the struct, union or typedef of one with this name.
    pub fn size_of_struct(&self, name: &str) -> Option<u32> {
        let ty = self.resolve(self.composite(name)?)?;
        ty.is_composite().then_some(ty.size_or_id)
    }

    /// The number of a kernel function.
    pub fn function(&self, name: &str) -> Option<u32> {
        self.find(name, |ty| ty.kind == kind::FUNC)
    }

    /// Parameters of a kernel function. A last one without name and of type `void` stands for
    /// `...`.
    pub fn params(&self, function: &str) -> Option<Vec<Param>> {
        let func = self.get(self.function(function)?)?;
        self.params_of(func.size_or_id)
    }

    /// Parameters of a tracepoint, without the leading `void *__data` that programs never see. The
    /// kernel keeps their types alone: the names are empty.
    pub fn trace_params(&self, tracepoint: &str) -> Option<Vec<Param>> {
        let name = format!("btf_trace_{tracepoint}");
        let pointer = self.resolve(self.find(&name, |ty| ty.kind == kind::TYPEDEF)?)?;
        let params = (pointer.kind == kind::PTR).then(|| self.params_of(pointer.size_or_id))??;
        Some(params.into_iter().skip(1).collect())
    }

    fn params_of(&self, proto: u32) -> Option<Vec<Param>> {
        let proto = self.resolve(proto).filter(|ty| ty.kind == kind::FUNC_PROTO)?;
        if rows::<2>(proto.tail).len() > PARAMS_MAX {
            return None;
        }
        rows(proto.tail)
            .map(|[name, id]| Some(Param { name: self.text(name)?, type_name: self.type_name(id)? }))
            .collect()
    }

    fn type_name(&self, mut id: u32) -> Option<String> {
        for _ in 0..CHAIN_MAX {
            // Void is written nowhere: it is what the number 0 stands for.
            if id == 0 {
                return Some("void".to_owned());
            }
            let ty = self.get(id)?;
            if ty.kind != kind::PTR && !ty.is_qualifier() {
                return self.text(ty.name);
            }
            id = ty.size_or_id;
        }
        None
    }

    /// Bytes of a type.
    fn size(&self, mut id: u32) -> Option<u32> {
        let mut count = 1_u32;
        for _ in 0..CHAIN_MAX {
            let ty = self.resolve(id)?;
            match ty.kind {
                kind::INT | kind::ENUM | kind::ENUM64 | kind::FLOAT | kind::STRUCT | kind::UNION => {
                    return count.checked_mul(ty.size_or_id);
                }
                kind::PTR => return count.checked_mul(POINTER_SIZE),
                kind::ARRAY => {
                    let [element, _, len] = rows(ty.tail).next()?;
                    count = count.checked_mul(len)?;
                    id = element;
                }
                _ => return None,
            }
        }
        None
    }

    /// A member by its name, also within anonymous members.
    fn member(&self, outer: Place, name: &str) -> Option<Place> {
        if name.is_empty() {
            return None;
        }
        let mut left = MEMBERS_MAX;
        let mut pending = vec![outer];
        while let Some(outer) = pending.pop() {
            let Some(ty) = self.resolve(outer.id).filter(Type::is_composite) else {
                continue;
            };
            for [name_at, id, place] in rows(ty.tail) {
                left = left.checked_sub(1)?;
                let (bits, bit_size) = if ty.flag { (place & 0xff_ffff, place >> 24) } else { (place, 0) };
                let inner = Place { id, bits: outer.bits.checked_add(bits.into())?, bit_size };
                if self.is_named(name_at, name) {
                    return Some(inner);
                }
                if self.is_named(name_at, "") {
                    pending.push(inner);
                }
            }
        }
        None
    }

    /// An element of an array; any of one that is declared without a length.
    fn element(&self, array: Place, index: u32) -> Option<Place> {
        let ty = self.resolve(array.id).filter(|ty| ty.kind == kind::ARRAY)?;
        let [id, _, len] = rows(ty.tail).next()?;
        if index >= len && len != 0 {
            return None;
        }
        let bits = u64::from(index).checked_mul(self.size(id)?.into())?.checked_mul(8)?;
        Some(Place { id, bits: array.bits.checked_add(bits)?, bit_size: 0 })
    }

    /// The struct or union of this name, or else a typedef that may be one (`atomic_t`).
    fn composite(&self, name: &str) -> Option<u32> {
        self.find(name, Type::is_composite).or_else(|| self.find(name, |ty| ty.kind == kind::TYPEDEF))
    }

    /// The first type with this name and a kind that fits.
    fn find(&self, name: &str, fits: impl Fn(&Type<'a>) -> bool) -> Option<u32> {
        let mut found = None;
        let mut id = *self.buckets.get(bucket(name.as_bytes(), self.buckets.len()))?;
        // Each entry points at one before it, so this ends.
        while let Some(entry) = self.entry(id) {
            if self.get(id).is_some_and(|ty| fits(&ty) && self.is_named(ty.name, name)) {
                found = Some(id);
            }
            id = entry.next;
        }
        found
    }

    /// Puts a type that is looked up by name at the head of a chain; the one that was there.
    fn enlist(&mut self, ty: &Type<'_>, id: u32) -> Result<u32, BtfError> {
        if !ty.is_wanted() || ty.name == 0 {
            return Ok(0);
        }
        let name = self.name(ty.name).ok_or(BtfError::Name(id))?;
        let bucket = bucket(name, self.buckets.len());
        let head = self.buckets.get_mut(bucket);
        Ok(head.map_or(0, |head| std::mem::replace(head, id)))
    }

    /// The type behind typedefs and qualifiers.
    fn resolve(&self, mut id: u32) -> Option<Type<'a>> {
        for _ in 0..CHAIN_MAX {
            let ty = self.get(id)?;
            if ty.kind != kind::TYPEDEF && !ty.is_qualifier() {
                return Some(ty);
            }
            id = ty.size_or_id;
        }
        None
    }

    fn get(&self, id: u32) -> Option<Type<'a>> {
        let bytes = skip(self.types, self.entry(id)?.at)?;
        Type::read(bytes, id).ok().map(|(ty, _)| ty)
    }

    fn entry(&self, id: u32) -> Option<&Entry> {
        self.entries.get(usize::try_from(id.checked_sub(1)?).ok()?)
    }

    fn name(&self, at: u32) -> Option<&'a [u8]> {
        let bytes = skip(self.strings, at)?;
        let bytes = bytes.get(..NAME_MAX).unwrap_or(bytes);
        CStr::from_bytes_until_nul(bytes).ok().map(CStr::to_bytes)
    }

    fn text(&self, at: u32) -> Option<String> {
        self.name(at).map(|name| String::from_utf8_lossy(name).into_owned())
    }

    fn is_named(&self, at: u32, name: &str) -> bool {
        skip(self.strings, at)
            .and_then(|bytes| bytes.strip_prefix(name.as_bytes()))
            .is_some_and(|after| after.first() == Some(&0))
    }
}

/// The type and the string section.
fn sections(data: &[u8]) -> Result<(&[u8], &[u8]), BtfError> {
    const HEADER: u32 = 24;
    let [tag, header, type_at, type_len, string_at, string_len] =
        rows(data).next().ok_or(BtfError::Header)?;
    let [low, high, version, _] = tag.to_le_bytes();
    match u16::from_le_bytes([low, high]) {
        0xeb9f => {}
        0x9feb => return Err(BtfError::BigEndian),
        magic => return Err(BtfError::Magic(magic)),
    }
    if version != 1 {
        return Err(BtfError::Version(version));
    }
    // Later headers are longer; what they add is not needed here.
    if header < HEADER {
        return Err(BtfError::Header);
    }
    let section = |at, len| {
        let bytes = skip(skip(data, header)?, at)?;
        bytes.get(..usize::try_from(len).ok()?)
    };
    let types = section(type_at, type_len).ok_or(BtfError::Section("type"))?;
    let strings = section(string_at, string_len).ok_or(BtfError::Section("string"))?;
    match (strings.first(), strings.last()) {
        (Some(0), Some(0)) => Ok((types, strings)),
        _ => Err(BtfError::Strings),
    }
}

/// `bytes` without the first `count`.
fn skip(bytes: &[u8], count: u32) -> Option<&[u8]> {
    bytes.get(usize::try_from(count).ok()?..)
}

/// `bytes` as rows of little-endian words, the rest left out.
fn rows<const N: usize>(bytes: &[u8]) -> impl ExactSizeIterator<Item = [u32; N]> {
    let (words, _) = bytes.as_chunks::<4>();
    let (rows, _) = words.as_chunks::<N>();
    rows.iter().map(|row| row.map(u32::from_le_bytes))
}

/// Which of `count` buckets, a power of two, a name belongs to.
///
/// Eight bytes a step: hashing the names is most of the time that parsing takes.
fn bucket(name: &[u8], count: usize) -> usize {
    let (words, rest) = name.as_chunks::<8>();
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    let hash = words
        .chain(rest.iter().map(|byte| u64::from(*byte)))
        .fold(0_u64, |hash, word| (hash.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    usize::try_from(hash >> 32).unwrap_or(0) & count.saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a BTF type by type; ids count from 1.
    struct Build {
        types: Vec<u8>,
        strings: Vec<u8>,
        last: u32,
    }

    impl Build {
        fn new() -> Self {
            Self { types: Vec::new(), strings: vec![0], last: 0 }
        }

        fn name(&mut self, name: &str) -> u32 {
            if name.is_empty() {
                return 0;
            }
            let at = u32::try_from(self.strings.len()).unwrap();
            self.strings.extend(name.bytes().chain([0]));
            at
        }

        fn add(&mut self, kind: u32, name: &str, len: u32, size_or_id: u32, tail: &[u32]) -> u32 {
            let name = self.name(name);
            let head = [name, kind << 24 | len, size_or_id];
            self.types.extend(head.iter().chain(tail).flat_map(|word| word.to_le_bytes()));
            self.last += 1;
            self.last
        }

        /// Members as (name, type, bits from the start).
        fn composite(&mut self, kind: u32, name: &str, size: u32, members: &[(&str, u32, u32)]) -> u32 {
            let tail: Vec<u32> =
                members.iter().flat_map(|(name, id, bits)| [self.name(name), *id, *bits]).collect();
            self.add(kind, name, u32::try_from(members.len()).unwrap(), size, &tail)
        }

        /// The type added last gets the flag.
        fn flag(&mut self, at: usize) {
            self.types[at + 7] |= 0x80;
        }

        fn bytes(&self) -> Vec<u8> {
            let types = u32::try_from(self.types.len()).unwrap();
            let strings = u32::try_from(self.strings.len()).unwrap();
            let header = [0x0001_eb9f, 24, 0, types, types, strings];
            let header = header.iter().flat_map(|word| word.to_le_bytes());
            header.chain(self.types.iter().copied()).chain(self.strings.iter().copied()).collect()
        }
    }

    /// A kernel of one task, one function and one tracepoint.
    fn kernel() -> Build {
        let mut b = Build::new();
        let int = b.add(kind::INT, "int", 0, 4, &[0x0100_0020]);
        let long = b.add(kind::INT, "long unsigned int", 0, 8, &[64]);
        let qualified = b.add(kind::VOLATILE, "", 0, long, &[]);
        let counts = b.add(kind::ARRAY, "", 0, 0, &[qualified, int, 4]);
        let matrix = b.add(kind::ARRAY, "", 0, 0, &[counts, int, 2]);
        let entity =
            b.composite(kind::STRUCT, "sched_entity", 80, &[("load", long, 0), ("grid", matrix, 64)]);
        let uid = b.composite(kind::STRUCT, "", 4, &[("val", int, 0)]);
        let kuid = b.add(kind::TYPEDEF, "kuid_t", 0, uid, &[]);
        let union = b.composite(kind::UNION, "", 8, &[("left", long, 0), ("right", int, 0)]);
        let pair = b.composite(kind::STRUCT, "", 16, &[("first", long, 0), ("", union, 64)]);
        let pair = b.add(kind::CONST, "", 0, pair, &[]);
        let at = b.types.len();
        let task = b.composite(
            kind::STRUCT,
            "task_struct",
            136,
            &[
                ("flags", int, 0),
                ("se", entity, 64),
                ("", pair, 704),
                ("uid", kuid, 832),
                ("bit", int, 3 << 24 | 866),
            ],
        );
        b.flag(at);
        let const_task = b.add(kind::CONST, "", 0, task, &[]);
        let tagged = b.add(kind::TYPE_TAG, "rcu", 0, const_task, &[]);
        let pointer = b.add(kind::PTR, "", 0, tagged, &[]);
        let void = b.add(kind::PTR, "", 0, 0, &[]);
        let byte = b.add(kind::INT, "_Bool", 0, 1, &[8]);
        let bool = b.add(kind::TYPEDEF, "bool", 0, byte, &[]);
        let (p, q) = (b.name("task"), b.name("group_dead"));
        let proto = b.add(kind::FUNC_PROTO, "", 2, int, &[p, pointer, q, bool]);
        b.add(kind::FUNC, "vfs_unlink", 1, proto, &[]);
        let data = b.name("__data");
        let proto = b.add(kind::FUNC_PROTO, "", 3, 0, &[data, void, p, pointer, 0, 0]);
        let proto = b.add(kind::PTR, "", 0, proto, &[]);
        b.add(kind::TYPEDEF, "btf_trace_sched_process_exit", 0, proto, &[]);
        // The kinds that nothing above needs, each with its tail.
        b.add(kind::ENUM, "e", 1, 4, &[0, 1]);
        b.add(kind::ENUM64, "f", 1, 8, &[0, 1, 2]);
        b.add(kind::FWD, "task_struct", 0, 0, &[]);
        b.add(kind::RESTRICT, "", 0, void, &[]);
        let var = b.add(kind::VAR, "v", 0, int, &[1]);
        b.add(kind::DATASEC, ".data", 1, 4, &[var, 0, 4]);
        b.add(kind::FLOAT, "float", 0, 4, &[]);
        b.add(kind::DECL_TAG, "tag", 0, var, &[u32::MAX]);
        b
    }

    fn plain(offset: u32, size: u32) -> Option<Member> {
        Some(Member { offset, size, bit_offset: 0, bit_size: 0 })
    }

    fn param(name: &str, type_name: &str) -> Param {
        Param { name: name.to_owned(), type_name: type_name.to_owned() }
    }

    /// Every kind of question, for inputs of which only the end is of interest.
    fn ask(btf: &Btf<'_>) {
        for path in ["flags", "se.load", "se.grid[1][3]", "right", "uid.val", "bit", "a", "a[7].a", "", "."] {
            let _ = btf.offset("task_struct", path);
            let _ = btf.offset("a", path);
        }
        let _ = (btf.size_of_struct("a"), btf.size_of_struct("task_struct"));
        let _ = (btf.params("vfs_unlink"), btf.params("a"), btf.trace_params("sched_process_exit"));
    }

    #[test]
    fn members_are_found() {
        let bytes = kernel().bytes();
        let btf = Btf::parse(&bytes).unwrap();
        assert_eq!(btf.offset("task_struct", "flags"), plain(0, 4));
        assert_eq!(btf.offset("task_struct", "se"), plain(8, 80));
        assert_eq!(btf.offset("task_struct", "se.load"), plain(8, 8));
        assert_eq!(btf.offset("task_struct", "se.grid"), plain(16, 64));
        assert_eq!(btf.offset("task_struct", "se.grid[1]"), plain(48, 32));
        assert_eq!(btf.offset("task_struct", "se.grid[1][3]"), plain(72, 8));
        assert_eq!(btf.offset("task_struct", "first"), plain(88, 8));
        assert_eq!(btf.offset("task_struct", "right"), plain(96, 4));
        assert_eq!(btf.offset("task_struct", "uid.val"), plain(104, 4));
        assert_eq!(btf.offset("kuid_t", "val"), plain(0, 4));
        let bit = Member { offset: 108, size: 4, bit_offset: 2, bit_size: 3 };
        assert_eq!(btf.offset("task_struct", "bit"), Some(bit));
        assert_eq!(btf.size_of_struct("task_struct"), Some(136));
        assert_eq!(btf.size_of_struct("kuid_t"), Some(4));
    }

    #[test]
    fn what_is_not_there_has_no_answer() {
        let bytes = kernel().bytes();
        let btf = Btf::parse(&bytes).unwrap();
        for path in [
            "",
            ".",
            "flag",
            "flagss",
            "flags.",
            "flags.x",
            "flags[0]",
            "se.",
            "se..load",
            "se.grid[2]",
            "se.grid[",
            "se.grid[]",
            "se.grid[-1]",
            "se.grid[0][0][0]",
            "se.grid[0]x",
            "se.grid[0].load",
            "val",
            "bit.x",
        ] {
            assert_eq!(btf.offset("task_struct", path), None, "{path}");
        }
        assert_eq!(btf.offset("", "flags"), None);
        assert_eq!(btf.offset("task", "flags"), None);
        assert_eq!(btf.offset("bool", "flags"), None);
        assert_eq!(btf.offset("vfs_unlink", "flags"), None);
        assert_eq!(btf.size_of_struct("bool"), None);
        assert_eq!(btf.params("task_struct"), None);
        assert_eq!(btf.params("btf_trace_sched_process_exit"), None);
        assert_eq!(btf.trace_params("sched_process_exec"), None);
    }

    #[test]
    fn parameters_are_named() {
        let bytes = kernel().bytes();
        let btf = Btf::parse(&bytes).unwrap();
        let params = [param("task", "task_struct"), param("group_dead", "bool")];
        assert_eq!(btf.params("vfs_unlink").unwrap(), params);
        let params = [param("task", "task_struct"), param("", "void")];
        assert_eq!(btf.trace_params("sched_process_exit").unwrap(), params);
    }

    #[test]
    fn of_types_with_one_name_the_first_counts() {
        let mut b = Build::new();
        b.add(kind::TYPEDEF, "a", 0, 0, &[]);
        b.composite(kind::STRUCT, "a", 8, &[]);
        b.composite(kind::STRUCT, "a", 16, &[]);
        let bytes = b.bytes();
        assert_eq!(Btf::parse(&bytes).unwrap().size_of_struct("a"), Some(8));
    }

    #[test]
    fn a_longer_header_is_skipped() {
        let mut bytes = kernel().bytes();
        bytes[4] = 32;
        bytes.splice(24..24, [0xff; 8]);
        assert_eq!(Btf::parse(&bytes).unwrap().size_of_struct("task_struct"), Some(136));
    }

    #[test]
    fn every_prefix_is_an_error() {
        let bytes = kernel().bytes();
        for end in 0..bytes.len() {
            let error = Btf::parse(&bytes[..end]).err();
            assert_eq!(
                error,
                Some(if end < 24 { BtfError::Header } else { error_of_section(&bytes, end) }),
                "{end}"
            );
        }
    }

    fn error_of_section(bytes: &[u8], end: usize) -> BtfError {
        let types = u32::from_le_bytes(*bytes[12..].first_chunk().unwrap());
        BtfError::Section(if end < 24 + types as usize { "type" } else { "string" })
    }

    #[test]
    fn every_cut_of_the_types_is_an_error_or_shorter() {
        let whole = kernel();
        let mut ends = 0;
        for end in 0..whole.types.len() {
            let cut = Build { types: whole.types[..end].to_vec(), strings: whole.strings.clone(), last: 0 };
            match Btf::parse(&cut.bytes()) {
                Ok(btf) => ask(&btf),
                Err(error) => assert!(matches!(error, BtfError::Truncated(_)), "{end}: {error}"),
            }
            ends += usize::from(Btf::parse(&cut.bytes()).is_ok());
        }
        assert_eq!(ends, whole.last as usize, "a cut is well-formed only between two types");
    }

    #[test]
    fn headers_that_lie_are_told() {
        let good = kernel().bytes();
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            Btf::parse(&bytes).err()
        };
        assert_eq!(with(0, 0), Some(BtfError::Magic(0xeb00)));
        assert_eq!(with(2, 2), Some(BtfError::Version(2)));
        assert_eq!(with(4, 23), Some(BtfError::Header));
        assert_eq!(with(7, 0xff), Some(BtfError::Section("type")));
        assert_eq!(with(15, 0xff), Some(BtfError::Section("type")));
        assert_eq!(with(19, 0xff), Some(BtfError::Section("string")));
        assert_eq!(with(23, 0xff), Some(BtfError::Section("string")));
        assert_eq!(with(good.len() - 1, b'x'), Some(BtfError::Strings));
        // The first type: kind 31, then a name beyond the strings.
        assert_eq!(with(31, 31), Some(BtfError::Kind { id: 1, kind: 31 }));
        assert_eq!(BtfError::Kind { id: 1, kind: 31 }.to_string(), "BTF type 1 is of unknown kind 31");
        let mut big = good.clone();
        big.swap(0, 1);
        assert_eq!(Btf::parse(&big).err(), Some(BtfError::BigEndian));
    }

    #[test]
    fn every_changed_byte_ends_well() {
        let good = kernel().bytes();
        for at in 0..good.len() {
            for byte in [0, 1, 0x7f, 0x80, 0xff, good[at] ^ 1, good[at].wrapping_add(1)] {
                let mut bytes = good.clone();
                bytes[at] = byte;
                let _ = Btf::parse(&bytes).map(|btf| ask(&btf));
            }
        }
    }

    #[test]
    fn cycles_end() {
        for kind in [kind::TYPEDEF, kind::CONST, kind::VOLATILE, kind::RESTRICT, kind::TYPE_TAG, kind::PTR] {
            let mut b = Build::new();
            b.add(kind, "a", 0, 1, &[]);
            b.composite(kind::STRUCT, "task_struct", 8, &[("a", 1, 0), ("", 1, 0)]);
            let proto = b.add(kind::FUNC_PROTO, "", 1, 0, &[0, 1]);
            b.add(kind::FUNC, "vfs_unlink", 0, proto, &[]);
            let bytes = b.bytes();
            let btf = Btf::parse(&bytes).unwrap();
            let size = if kind == kind::PTR { 8 } else { 0 };
            assert_eq!(btf.offset("task_struct", "a"), plain(0, size));
            assert_eq!(btf.offset("task_struct", "b"), None);
            let params = (kind == kind::TYPEDEF).then(|| vec![param("", "a")]);
            assert_eq!(btf.params("vfs_unlink"), params);
            ask(&btf);
        }
    }

    #[test]
    fn arrays_of_themselves_end() {
        let mut b = Build::new();
        let array = b.add(kind::ARRAY, "", 0, 0, &[1, 1, u32::MAX]);
        b.composite(kind::STRUCT, "a", 8, &[("a", array, 0)]);
        let bytes = b.bytes();
        let btf = Btf::parse(&bytes).unwrap();
        assert_eq!(btf.offset("a", "a"), plain(0, 0));
        assert_eq!(btf.offset("a", "a[1]"), None);
    }

    #[test]
    fn structs_within_themselves_end() {
        let mut b = Build::new();
        let members: Vec<_> = (0..1000).map(|_| ("", 1, 0)).collect();
        b.composite(kind::STRUCT, "a", 8, &members);
        let bytes = b.bytes();
        assert_eq!(Btf::parse(&bytes).unwrap().offset("a", "missing"), None);
    }

    #[test]
    fn offsets_do_not_overflow() {
        let mut b = Build::new();
        b.composite(kind::STRUCT, "a", u32::MAX, &[("a", 2, 0), ("end", 1, u32::MAX - 7), ("odd", 1, 1)]);
        b.add(kind::ARRAY, "", 0, 0, &[1, 1, 0]);
        let bytes = b.bytes();
        let btf = Btf::parse(&bytes).unwrap();
        assert_eq!(btf.offset("a", "end"), plain(u32::MAX / 8, u32::MAX));
        assert_eq!(btf.offset("a", "odd"), None, "a bitfield whose size is not told");
        assert_eq!(btf.offset("a", "a[1].a"), plain(u32::MAX, 0));
        assert_eq!(btf.offset("a", "a[4294967295]"), None);
        let far = ["a[4294967295]"; 64].join(".");
        assert_eq!(btf.offset("a", &far), None);
    }

    #[test]
    fn endless_names_and_parameters_are_refused() {
        let mut b = Build::new();
        let long = "a".repeat(NAME_MAX);
        b.composite(kind::STRUCT, &long, 8, &[]);
        assert_eq!(Btf::parse(&b.bytes()).err(), Some(BtfError::Name(1)));

        let mut b = Build::new();
        let proto = b.add(kind::FUNC_PROTO, "", 65, 0, &[0; 130]);
        b.add(kind::FUNC, &long[1..], 0, proto, &[]);
        let bytes = b.bytes();
        assert_eq!(Btf::parse(&bytes).unwrap().params(&long[1..]), None);
    }

    #[test]
    fn the_running_kernel_is_understood() {
        let Ok(bytes) = std::fs::read("/sys/kernel/btf/vmlinux") else {
            return say!("skipped: this kernel shows no BTF");
        };
        let start = std::time::Instant::now();
        let btf = Btf::parse(&bytes).unwrap();
        say!("{} types in {:?}", btf.entries.len(), start.elapsed());
        let task = btf.size_of_struct("task_struct").unwrap();
        for (path, size) in [
            ("signal", 8),
            ("tgid", 4),
            ("comm", 16),
            ("se.sum_exec_runtime", 8),
            ("thread_info.flags", 8),
            ("mm", 8),
        ] {
            let member = btf.offset("task_struct", path).unwrap();
            assert_eq!((member.size, member.bit_size), (size, 0), "{path}");
            assert!(member.offset + size <= task, "{path}");
        }
        let (pid, tgid) =
            (btf.offset("task_struct", "pid").unwrap(), btf.offset("task_struct", "tgid").unwrap());
        assert_eq!(pid.offset + 4, tgid.offset);
        assert_eq!(btf.offset("list_head", "prev"), plain(8, 8));
        assert_eq!(btf.offset("atomic_t", "counter"), plain(0, 4));
        assert_eq!(btf.offset("task_struct", "in_execve").unwrap().bit_size, 1);
        let [first, second] = ["__sk_common.skc_daddr", "__sk_common.skc_rcv_saddr"]
            .map(|path| btf.offset("sock", path).unwrap());
        assert_eq!(first.offset + 4, second.offset, "both lie in one anonymous struct");
        let pids = btf.offset("signal_struct", "pids").unwrap();
        assert_eq!(btf.offset("signal_struct", "pids[3]").unwrap().offset, pids.offset + 3 * 8);
        assert_eq!(
            btf.offset("pid", "numbers[0].nr").unwrap().offset,
            btf.offset("pid", "numbers").unwrap().offset
        );
        assert!(btf.size_of_struct("mount").unwrap() > 64);
        assert!(btf.params("vfs_unlink").unwrap().iter().any(|param| param.type_name == "dentry"));
        assert_eq!(btf.trace_params("sched_process_exit").unwrap().first(), Some(&param("", "task_struct")));
    }
}

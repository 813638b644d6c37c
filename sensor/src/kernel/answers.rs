//! What the programs ask user space, answered in their own instructions: the kernel takes each answer as a constant, or as a
//! call.

use sensor_common::ask::{ABSENT, ASKED, Ask, CALLED};
use zerocopy::IntoBytes as _;

/// `BPF_LD | BPF_IMM | BPF_DW` (`include/uapi/linux/bpf.h`): two instructions whose immediates are one constant.
const LOAD: u64 = 0x18;
/// `BPF_JMP | BPF_CALL`: of a helper, and with `BPF_PSEUDO_KFUNC_CALL` as its source register of a function of the kernel.
const CALL: u64 = 0x85;
const FUNCTION: u64 = 2 << 12;
/// `BPF_ALU64 | BPF_MOV | BPF_K` to register 0, which a call changes too: what stands for one that isn't made.
const NO_CALL: u64 = 0xb7;
/// The part of a call's constant that says that it is a question.
const QUESTION: u64 = 0xffff_0000;
const WORD: usize = size_of::<u64>();

/// The object with the answers in its instructions, as the aligned words that a loader reads, zeros after its end.
///
/// An instruction is such a word: operation, registers, offset, and the immediate in the upper half. A load of a plain constant
/// has no source register and no offset, and of its second instruction all but the immediate is zero.
pub(super) fn answered(object: &[u8], ask: &Ask) -> Vec<u64> {
    let mut words: Vec<u64> = object.chunks(WORD).map(padded).collect();
    let mut at = 0;
    while let Some([first, second]) = words.get_mut(at..at + 2) {
        if let Some(place) = called(*first)
            && let Some(number) = word(ask, place)
        {
            *first = match number {
                ABSENT => NO_CALL,
                number => CALL | FUNCTION | u64::from(number) << 32,
            };
        }
        if *first & 0xffff_f0ff == LOAD
            && *second == u64::from(ASKED) << 32
            && let Some(answer) = word(ask, *first >> 32)
        {
            *first = *first & 0xffff_ffff | u64::from(answer) << 32;
            *second = 0;
        }
        at += 1;
    }
    words
}

/// The place of the function's number, when it is a call that asks for one.
fn called(instruction: u64) -> Option<u64> {
    let constant = instruction >> 32;
    let asks = instruction & 0xffff_ffff == CALL && constant & QUESTION == u64::from(CALLED);
    asks.then_some(constant & !QUESTION)
}

fn padded(chunk: &[u8]) -> u64 {
    let mut word = [0; WORD];
    for (to, from) in word.iter_mut().zip(chunk) {
        *to = *from;
    }
    u64::from_ne_bytes(word)
}

/// The word at this place of `Ask`; none outside.
fn word(ask: &Ask, place: u64) -> Option<u32> {
    let bytes = ask.as_bytes().get(usize::try_from(place).ok()?..)?;
    bytes.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::super::load::OBJECT;
    use super::*;
    use sensor_common::ask::Calls;

    /// How many loads ask something.
    fn questions(words: &[u64]) -> usize {
        let constants = words.iter().filter(|word| **word == u64::from(ASKED) << 32).count();
        constants + words.iter().filter(|word| called(**word).is_some()).count()
    }

    #[test]
    fn every_question_is_answered() {
        let asked: Vec<u64> = OBJECT.chunks(WORD).map(padded).collect();
        assert!(questions(&asked) > 500, "{}", questions(&asked));
        let answered = answered(OBJECT, &Ask::EMPTY);
        assert_eq!((answered.len(), questions(&answered)), (asked.len(), 0));
    }

    #[test]
    fn a_call_is_one_of_the_kernels_or_none() {
        let place = core::mem::offset_of!(Ask, calls.preempt_enable) as u64;
        let call = |constant: u64| CALL | constant << 32;
        let asked = [call(u64::from(CALLED) | place), call(place), call(u64::from(CALLED) | 0xffff), 0];
        let [_, kept @ ..] = asked;
        let with = |first| [[first].as_slice(), &kept].concat();
        assert_eq!(answered(asked.as_bytes(), &Ask::EMPTY), with(0xb7));
        let calls = Calls { preempt_enable: 77, ..Calls::ABSENT };
        let ask = Ask { calls, ..Ask::EMPTY };
        assert_eq!(answered(asked.as_bytes(), &ask), with(77 << 32 | 0x2085));
    }

    #[test]
    fn only_a_load_of_a_question_is_changed() {
        let place = core::mem::offset_of!(Ask, upid_size) as u64;
        let asked = u64::from(ASKED);
        let load =
            |source: u64, place: u64, upper: u64| [LOAD | 3 << 8 | source << 12 | place << 32, upper << 32];
        let loads =
            [load(0, place, asked), load(1, place, asked), load(0, 1 << 20, asked), load(0, place, 7)];
        let ask = Ask { upid_size: 24, ..Ask::EMPTY };
        let [_, kept @ ..] = loads;
        let expected = [[load(0, 24, 0)].as_slice(), &kept].concat();
        assert_eq!(answered(loads.as_bytes(), &ask), expected.concat());
        assert_eq!(word(&Ask::EMPTY, 0), Some(ABSENT));
        assert_eq!(word(&Ask::EMPTY, size_of::<Ask>() as u64), None);
        assert_eq!(padded(&[1, 2]).to_ne_bytes(), [1, 2, 0, 0, 0, 0, 0, 0]);
    }
}

//! Property tests: the arithmetic of offsets holds for all inputs.
//!
//! Plain numbers, no unsafe code: Miri has nothing to look for here, and would take minutes.
#![cfg(not(any(loom, miri)))]

use proptest::prelude::*;

use super::*;
use crate::memory::{Heap, Memory};
use crate::ring::{BodyRef, SlotHead};
use crate::segment::{Identity, MAGIC, RunId, expect_header, read_header, write_header};
use crate::sync::Ordering;
use crate::terms::Terms;

/// Any geometry that is accepted.
fn geometries() -> impl Strategy<Value = Geometry> {
    let bodies = prop_oneof![Just((0, 0)), (2u32..=4096, 1u32..=65_536), Just((4096, 65_536))];
    (1u32..=20, 1u32..=64, bodies).prop_map(|(depth, slot, (terms, pages))| Geometry {
        depth: 1 << depth,
        slot_bytes: slot * 64,
        terms,
        term_bytes: pages * 4096,
    })
}

/// Geometries of segments that are quickly allocated.
fn small_geometries() -> impl Strategy<Value = Geometry> {
    let bodies = prop_oneof![Just((0, 0)), (2u32..=4, 1u32..=3)];
    (1u32..=6, 1u32..=8, bodies).prop_map(|(depth, slot, (terms, pages))| Geometry {
        depth: 1 << depth,
        slot_bytes: slot * 64,
        terms,
        term_bytes: pages * 4096,
    })
}

/// Any number, and often one at an end of the range.
fn sequences() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), 0u64..4, (u64::MAX - 4)..=u64::MAX]
}

fn bodies() -> impl Strategy<Value = BodyRef> {
    prop_oneof![
        Just(BodyRef::None),
        Just(BodyRef::Omitted),
        (0..1u64 << 62, any::<u32>()).prop_map(|(offset, length)| BodyRef::At { offset, length }),
    ]
}

proptest! {
    #[test]
    fn any_geometry_is_refused_or_lies_inside_its_segment(
        depth: u32, slot_bytes: u32, terms: u32, term_bytes: u32, sequence: u64,
    ) {
        if let Ok(layout) = (Geometry { depth, slot_bytes, terms, term_bytes }).layout() {
            check_parts(&layout, sequence);
        }
    }

    #[test]
    fn the_parts_of_a_segment_follow_one_another_and_end_with_it(
        geometry in geometries(), sequence in sequences(),
    ) {
        check_parts(&geometry.layout().unwrap(), sequence);
    }

    #[test]
    fn sequences_share_a_slot_exactly_if_a_whole_lap_lies_between(
        geometry in geometries(), sequence in sequences(), distance in any::<u32>(),
    ) {
        let layout = geometry.layout().unwrap();
        let depth = u64::from(geometry.depth);
        let slot = layout.slot_word(sequence);
        prop_assert_eq!(slot, layout.slot_word(sequence.wrapping_add(depth)));
        // Within a lap no two slots share a word.
        let within = 1 + u64::from(distance) % (depth - 1);
        prop_assert!(slot.abs_diff(layout.slot_word(sequence.wrapping_add(within))) >= layout.slot_words);
    }

    #[test]
    fn a_body_range_is_accepted_exactly_if_it_is_aligned_and_inside_one_term(
        geometry in geometries(),
        offset in any::<u64>(),
        length in any::<u32>(),
        term in any::<u32>(),
        before_end in 0u64..300,
        slack in -2i64..=2,
    ) {
        let layout = geometry.layout().unwrap();
        let term_bytes = u64::from(geometry.term_bytes);
        // Arbitrary numbers are nearly all refused: also the start and the end of a term, and beyond the last one.
        let start = u64::from(term) % (u64::from(geometry.terms) + 1) * term_bytes;
        let late = (start + term_bytes).saturating_sub(before_end / 64 * 64);
        let length_to_end = (before_end / 64 * 64).saturating_add_signed(slack) as u32;
        for (offset, length) in [
            (offset, length),
            (start, length),
            (start, (term_bytes as u32).saturating_add_signed(slack as i32)),
            (late, length_to_end),
            (late.saturating_add_signed(slack), length_to_end),
            (u64::MAX - before_end, length),
            (u64::MAX / 64 * 64, u32::MAX),
            (late, 0),
        ] {
            let end = u128::from(offset) + u128::from(length);
            let is_inside = geometry.terms > 0 && offset / term_bytes < u64::from(geometry.terms)
                && end <= u128::from(offset / term_bytes + 1) * u128::from(term_bytes);
            let range = layout.body_range(offset, length);
            prop_assert_eq!(range.is_some(), is_inside && offset.is_multiple_of(64), "{} {}", offset, length);
            if let Some(range) = range {
                prop_assert_eq!(range.start, layout.body_start + offset as usize);
                prop_assert_eq!(range.len(), length as usize);
                prop_assert!(range.end <= layout.segment_bytes);
            }
        }
    }

    #[test]
    fn bodies_taken_into_the_account_lie_in_their_term_and_never_overlap(
        geometry in small_geometries(), lengths in prop::collection::vec(0usize..9000, 1..40),
    ) {
        prop_assume!(geometry.terms > 0);
        let layout = geometry.layout().unwrap();
        let memory = Heap::new(layout.segment_bytes);
        let mut terms = Terms::new(&layout, geometry.terms as usize);
        // Offset and end of each body of the current term.
        let mut stored: Vec<(usize, usize)> = Vec::new();
        for (sequence, length) in (1..).zip(lengths) {
            let length = length.min(geometry.term_bytes as usize);
            if terms.reserve(length).is_none() {
                prop_assert!(terms.enter_next_copied(&memory, &layout));
                stored.clear();
            }
            let offset = terms.reserve(length).unwrap();
            // A body of no bytes may be asked for when the term is full: nothing is stored for it.
            prop_assert!(layout.body_range(offset as u64, length as u32).is_some() || length == 0);
            prop_assert!(stored.iter().all(|(start, end)| offset >= *end || offset + length <= *start));
            stored.push((offset, offset + length));
            terms.commit(sequence, length);
        }
    }

    #[test]
    fn a_header_is_read_back_as_written(
        geometry in small_geometries(), topic: u32, schema: u64, run_id: [u8; 16],
    ) {
        let layout = geometry.layout().unwrap();
        let identity = Identity { topic, schema, run_id: RunId(run_id) };
        let memory = Heap::new(layout.segment_bytes);
        write_header(&memory, &layout, &identity);
        prop_assert_eq!(expect_header(&memory, &identity), Ok(layout));
        let other = Identity { schema: !schema, ..identity };
        prop_assert!(expect_header(&memory, &other).is_err());
    }

    #[test]
    fn no_bytes_make_reading_a_header_panic(
        geometry in small_geometries(),
        changes in prop::collection::vec((0usize..16, sequences()), 0..16),
        keeps_magic: bool,
        len_bytes in 1usize..20_000,
    ) {
        let identity = Identity { topic: 1, schema: 2, run_id: RunId([3; 16]) };
        let layout = geometry.layout().unwrap();
        let whole = Heap::new(layout.segment_bytes);
        write_header(&whole, &layout, &identity);
        let cut = Heap::new(len_bytes.next_multiple_of(WORD_BYTES));
        for memory in [whole, cut] {
            for (index, value) in &changes {
                if let Some(word) = memory.words(0, memory.len_bytes() / WORD_BYTES).get(*index) {
                    word.store(*value, Ordering::Relaxed);
                }
            }
            if keeps_magic {
                memory.words(0, 1)[0].store(MAGIC, Ordering::Relaxed);
            }
            if let Err(error) = read_header(&memory) {
                prop_assert!(!error.to_string().is_empty());
            }
            if let Ok(found) = expect_header(&memory, &identity) {
                prop_assert_eq!(found.segment_bytes, memory.len_bytes());
                check_parts(&found, 1);
            }
        }
    }

    #[test]
    fn what_stands_in_a_slots_head_is_read_back(
        kind: u16, inline_bytes: u16, body in bodies(), published_at: u64,
    ) {
        let head = SlotHead { kind, inline_bytes, body, published_at };
        prop_assert_eq!(SlotHead::decode(head.encode()), head);
    }

    #[test]
    fn any_words_are_some_slots_head(words: [u64; SLOT_HEAD_WORDS - 1]) {
        let head = SlotHead::decode(words);
        prop_assert_eq!(SlotHead::decode(head.encode()), head);
    }
}

/// Header page, cursor words, slots and body area: in order, apart, and inside the segment.
fn check_parts(layout: &Layout, sequence: u64) {
    let geometry = layout.geometry;
    let cursors = [layout.next_sequence_word, layout.oldest_body_word, layout.state_word];
    for (index, cursor) in cursors.into_iter().enumerate() {
        assert_eq!(cursor, (PAGE_BYTES + index * PAIR_BYTES) / WORD_BYTES, "each on its pair of lines");
    }
    assert!(layout.state_word < layout.slots_word);
    assert_eq!(layout.slots_word * WORD_BYTES % PAGE_BYTES, 0);
    let slots_end = layout.slots_word + geometry.depth as usize * layout.slot_words;
    for sequence in [sequence, 0, 1, u64::MAX, u64::from(geometry.depth) - 1] {
        let slot = layout.slot_word(sequence);
        assert!(layout.slots_word <= slot && slot + layout.slot_words <= slots_end);
    }
    assert!(layout.inline_capacity_bytes >= 32);
    assert!(slots_end * WORD_BYTES <= layout.body_start && layout.body_start.is_multiple_of(PAGE_BYTES));
    let area_bytes = u64::from(geometry.terms) * u64::from(geometry.term_bytes);
    assert_eq!(layout.body_start as u64 + area_bytes, layout.segment_bytes as u64);
}

#[test]
fn each_bound_is_refused_beyond_and_accepted_at_it() {
    let good = Geometry { depth: 2, slot_bytes: 64, terms: 2, term_bytes: 4096 };
    assert!(good.layout().is_ok());
    assert!(Geometry { terms: 0, term_bytes: 0, ..good }.layout().is_ok());
    assert!(Geometry { depth: 1 << 20, ..good }.layout().is_ok());
    assert!(Geometry { slot_bytes: 4096, ..good }.layout().is_ok());
    assert!(Geometry { terms: 4096, term_bytes: 256 << 20, ..good }.layout().is_ok());
    for depth in [0, 1, 3, 1 << 21] {
        assert_eq!(Geometry { depth, ..good }.layout(), Err(GeometryError::Depth { depth }));
    }
    for slot_bytes in [0, 32, 96, 4160] {
        assert_eq!(Geometry { slot_bytes, ..good }.layout(), Err(GeometryError::Slot { slot_bytes }));
    }
    for (terms, term_bytes) in
        [(1, 4096), (4097, 4096), (2, 0), (0, 4096), (2, 4095), (2, (256 << 20) + 4096)]
    {
        let refused = Geometry { terms, term_bytes, ..good }.layout();
        assert_eq!(refused, Err(GeometryError::Terms { terms, term_bytes }));
    }
}

//! Property tests: the offset arithmetic holds for all inputs.
#![cfg(not(any(loom, miri)))]

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn any_geometry_is_refused_or_lies_inside_its_segment(
        depth: u32, slot_bytes: u32, terms: u32, term_bytes: u32, sequence: u64,
    ) {
        let geometry = Geometry { depth, slot_bytes, terms, term_bytes };
        check(geometry, sequence);
    }

    #[test]
    fn a_valid_geometry_is_accepted_and_lies_inside_its_segment(
        depth in 1u32..=20, slot in 1u32..=64, terms in 2u32..=4096, pages in 1u32..=65536, sequence: u64,
    ) {
        let geometry = Geometry { depth: 1 << depth, slot_bytes: slot * 64, terms, term_bytes: pages * 4096 };
        prop_assert!(geometry.layout().is_ok());
        check(geometry, sequence);
    }

    #[test]
    fn a_body_range_never_leaves_its_term(offset: u64, length: u32, terms in 2u32..100, pages in 1u32..100) {
        let geometry = Geometry { depth: 2, slot_bytes: 64, terms, term_bytes: pages * 4096 };
        let layout = geometry.layout().unwrap();
        // Arbitrary offsets are nearly all refused: also try near ones.
        for offset in [offset, offset % (u64::from(terms) * u64::from(pages) * 4096), offset % 8192 / 64 * 64] {
            if let Some(range) = layout.body_range(offset, length) {
                let term_bytes = geometry.term_bytes as usize;
                prop_assert!(range.end <= layout.segment_bytes);
                prop_assert_eq!(range.len(), length as usize);
                let first = (range.start - layout.body_start) / term_bytes;
                let last = (range.end.max(range.start + 1) - 1 - layout.body_start) / term_bytes;
                prop_assert_eq!(first, last);
            }
        }
    }
}

fn check(geometry: Geometry, sequence: u64) {
    let Ok(layout) = geometry.layout() else { return };
    let slot = layout.slot_word(sequence);
    assert!(slot >= layout.slots_word);
    assert!((slot + layout.slot_words) * WORD_BYTES <= layout.body_start);
    assert!(layout.body_start <= layout.segment_bytes);
    assert!(layout.inline_capacity_bytes >= 32);
    assert!(layout.state_word < layout.slots_word);
}

#[test]
fn each_bound_is_refused_beyond_and_accepted_at_it() {
    let good = Geometry { depth: 2, slot_bytes: 64, terms: 2, term_bytes: 4096 };
    assert!(good.layout().is_ok());
    assert!(Geometry { terms: 0, term_bytes: 0, ..good }.layout().is_ok());
    assert!(Geometry { depth: 1 << 20, ..good }.layout().is_ok());
    assert!(Geometry { slot_bytes: 4096, ..good }.layout().is_ok());
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

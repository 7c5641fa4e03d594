//! The known name that is most like another.

/// Longest name that is compared: a long one from a hostile file must not cost the square of its length.
const MAX_NAME_BYTES: usize = 128;

/// Shortest part of a name that stands for it.
const MIN_PART_BYTES: usize = 4;

/// The one of `known` most like `name`; `None` if none is near. Case, hyphens and underscores do not count.
pub(crate) fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let wanted = Some(name).filter(|name| name.len() <= MAX_NAME_BYTES).map(plain)?;
    let distance = |candidate: &str| {
        let candidate = plain(candidate);
        let distance = strsim::damerau_levenshtein(&wanted, &candidate);
        // A part of a name is nearer than another name.
        let is_part = wanted.len() >= MIN_PART_BYTES && candidate.contains(&wanted);
        if is_part { distance.min(2) } else { distance }
    };
    // A third of the letters may differ, and two always: more is another word.
    let allowed = (wanted.chars().count() / 3).max(2);
    let known = known.into_iter().filter(|candidate| candidate.len() <= MAX_NAME_BYTES);
    let with_distance = known.map(|candidate| (distance(candidate), candidate));
    let is_near =
        |(distance, candidate): &(usize, &str)| *distance <= allowed && *distance < candidate.chars().count();
    with_distance.filter(is_near).min().map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_name_and_another_word_finds_none() {
        let known = ["name", "version", "entry_point", "os"];
        let of = |name| nearest(name, known);
        assert_eq!(of("verzion"), Some("version"));
        assert_eq!(of("entry-point"), Some("entry_point"));
        assert_eq!(of("NAME"), Some("name"));
        assert_eq!(of("nmae"), Some("name"));
        assert_eq!(of("point"), Some("entry_point"));
        assert_eq!(of("colour"), None);
        assert_eq!(of("xy"), None, "every letter of \"os\" would change");
        assert_eq!(of(""), None);
        assert_eq!(of(&"ü".repeat(1000)), None);
    }
}

//! The nearest name: for "did you mean".

/// The candidate that somebody who wrote `text` most likely meant, if any is near enough.
pub fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = text.to_lowercase();
    let distance = |candidate: &str| strsim::damerau_levenshtein(&wanted, &candidate.to_lowercase());
    let limit = (text.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .filter(|candidate| *candidate != text)
        .map(|candidate| (distance(candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_a_far_one_is_not() {
        assert_eq!(nearest("depend_on", ["depends_on", "image"]), Some("depends_on"));
        assert_eq!(nearest("pipeline", ["Pipeline", "Project"]), Some("Pipeline"));
        assert_eq!(nearest("xyz", ["image", "command"]), None);
    }
}

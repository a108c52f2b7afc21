//! Secrets never leave the generator but on the wire: every text that is shown or recorded goes through here.

use std::collections::BTreeMap;

use super::text::Escape;
use crate::scenario::Secret;

/// Replaces secrets in texts.
#[derive(Debug, Clone, Default)]
pub struct Mask(Vec<String>);

impl Mask {
    /// A mask for these secrets, also in the forms that they have in URLs, forms and JSON.
    pub fn new(secrets: &BTreeMap<String, Secret>) -> Self {
        let mut forms: Vec<String> = Vec::new();
        for secret in secrets
            .values()
            .map(Secret::reveal)
            .filter(|secret| !secret.is_empty())
        {
            for escape in [
                Escape::None,
                Escape::Json,
                Escape::Target,
                Escape::Query,
                Escape::Form,
                Escape::Header,
            ] {
                let mut form = String::new();
                escape.push(secret, &mut form);
                forms.push(form);
            }
        }
        // The longest first: a secret that is part of another must not leave the rest of it.
        forms.sort_by_key(|form| (std::cmp::Reverse(form.len()), form.clone()));
        forms.dedup();
        Self(forms)
    }

    /// The text with every secret as `***`.
    pub fn apply(&self, text: &str) -> String {
        let mut text = text.to_string();
        for secret in &self.0 {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), "***");
            }
        }
        text
    }

    /// The masked text, cut to a size. A text that had been cut before may end in the beginning of a secret, which
    /// is masked as well.
    pub fn apply_cut(&self, text: &str, limit: usize, was_cut: bool) -> String {
        let mut text = self.apply(text);
        if was_cut {
            let beginning = |secret: &String| {
                let ends = secret.char_indices().map(|(i, _)| i).filter(|i| *i > 0);
                ends.rev().find(|end| text.ends_with(&secret[..*end]))
            };
            if let Some(length) = self.0.iter().filter_map(beginning).max() {
                text.truncate(text.len() - length);
                text.push_str("***");
            }
        }
        if text.len() > limit {
            let end = (0..=limit)
                .rev()
                .find(|end| text.is_char_boundary(*end))
                .unwrap_or(0);
            text.truncate(end);
            text.push('…');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(secrets: &[&str]) -> Mask {
        let named = secrets
            .iter()
            .enumerate()
            .map(|(i, s)| (i.to_string(), Secret::new(*s)));
        Mask::new(&named.collect())
    }

    #[test]
    fn every_occurrence_in_every_form_is_masked() {
        let mask = mask(&["p&ss \"w", "p&ss \"word", ""]);
        let text =
            r#"p&ss "word p&ss%20%22w ?t=p%26ss%20%22word&f=p%26ss+%22w {"x":"p&ss \"word"}"#;
        assert_eq!(mask.apply(text), r#"*** *** ?t=***&f=*** {"x":"***"}"#);
    }

    #[test]
    fn a_cut_does_not_show_the_beginning_of_a_secret() {
        let mask = mask(&["topsecret"]);
        assert_eq!(mask.apply_cut("say tops", 100, true), "say ***");
        assert_eq!(mask.apply_cut("say tops", 100, false), "say tops");
        assert_eq!(mask.apply_cut("ééé", 3, false), "é…");
    }
}

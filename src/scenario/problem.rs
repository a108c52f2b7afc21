//! What is wrong with a scenario file, and where: collected, not thrown, so that all of it is told at once.

use std::fmt;

/// A place in the file; lines and columns count from 1, in characters. Line 0 is no place at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Line.
    pub line: usize,
    /// Column of the first character.
    pub column: usize,
    /// So many characters of that line.
    pub width: usize,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, one sentence.
    pub message: String,
    /// Where.
    pub at: Span,
    /// What would have been right.
    pub expected: Option<String>,
    /// A word that was probably meant, or what to do about it.
    pub help: Option<String>,
}

impl Problem {
    /// A problem at a place.
    pub fn new(at: Span, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            at,
            expected: None,
            help: None,
        }
    }
    /// Adds what would have been right.
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }
    /// Adds what to do about it.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
    /// Stars a value out wherever it is said.
    fn hide(&mut self, value: &str) {
        let texts = [
            Some(&mut self.message),
            self.expected.as_mut(),
            self.help.as_mut(),
        ];
        for text in texts.into_iter().flatten() {
            if text.contains(value) {
                *text = text.replace(value, "***");
            }
        }
    }
    /// Adds the nearest of the valid words, if one is near.
    pub fn nearest<'a>(self, word: &str, valid: impl IntoIterator<Item = &'a str>) -> Self {
        match nearest(word, valid) {
            Some(near) => self.help(format!("did you mean `{near}`?")),
            None => self,
        }
    }
}

/// The valid word nearest to the one written, if it is near enough to be what was meant.
pub fn nearest<'a>(word: &str, valid: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = kebab(word);
    let reach = (word.chars().count() / 3).clamp(1, 4);
    valid
        .into_iter()
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&word, &kebab(candidate)),
                candidate,
            )
        })
        .filter(|(distance, _)| *distance <= reach)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `maxInFlight` and `max_in_flight` are `max-in-flight` in another house's style.
fn kebab(word: &str) -> String {
    let mut out = String::with_capacity(word.len() + 2);
    for c in word.chars().take(100) {
        if c == '_' || c == ' ' {
            out.push('-');
        } else if c.is_uppercase() {
            if out.ends_with(|before: char| before.is_lowercase()) {
                out.push('-');
            }
            out.extend(c.to_lowercase());
        } else {
            out.push(c);
        }
    }
    out
}

/// All that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// The file as it was named.
    pub file: String,
    /// In the order of the file; never empty.
    pub list: Vec<Problem>,
    /// The source lines that the problems point at, secrets masked, by index of the problem.
    sources: Vec<String>,
}

impl Problems {
    /// Sorts the problems by place, drops repetitions (an alias repeats what its anchor has), takes the source lines
    /// they point at, and stars out the values that must not be shown.
    pub(super) fn new(file: &str, text: &str, mut list: Vec<Problem>, hidden: &[String]) -> Self {
        // A value of a letter or two hides nothing, but would make stars of half a message.
        for value in hidden.iter().filter(|value| value.len() > 2) {
            list.iter_mut().for_each(|problem| problem.hide(value));
        }
        list.sort_by(|a, b| (a.at, &a.message).cmp(&(b.at, &b.message)));
        list.dedup();
        let lines = masked_lines(text);
        let source = |p: &Problem| lines.get(p.at.line.wrapping_sub(1)).cloned();
        Self {
            file: file.to_string(),
            sources: list.iter().map(|p| source(p).unwrap_or_default()).collect(),
            list,
        }
    }
}

/// The file's lines as they may be shown: what is written as the value of a secret is starred out. Goes by the
/// text, not by the tree, since a file with a syntax error has no tree.
fn masked_lines(text: &str) -> Vec<String> {
    let mut secret = false;
    let mut out = Vec::new();
    for line in text.lines() {
        let starts_key = line.starts_with(|c: char| !c.is_whitespace() && c != '#');
        if starts_key {
            let key = line.split(':').next().unwrap_or_default();
            secret = key.trim().trim_matches(['"', '\'']) == "secrets";
        }
        out.push(match line.find(':') {
            Some(colon) if secret => mask(line, colon),
            None if secret => mask(line, 0),
            _ => line.to_string(),
        });
    }
    out
}

/// Stars for letters and digits after `from`, except for `${NAME}`; the length stays, so that carets still fit.
fn mask(line: &str, from: usize) -> String {
    let mut out = line[..from].to_string();
    let mut rest = &line[from..];
    while let Some(c) = rest.chars().next() {
        let name = rest.strip_prefix("${").and_then(|t| t.find(['}', ':']));
        let length = match name {
            Some(end) => end + 2,
            None => c.len_utf8(),
        };
        match name {
            Some(_) => out.push_str(&rest[..length]),
            None if c.is_whitespace() || ":{},\"'".contains(c) => out.push(c),
            None => out.push('*'),
        }
        rest = &rest[length..];
    }
    out
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (problem, source) in self.list.iter().zip(&self.sources) {
            write_problem(f, &self.file, problem, source)?;
            writeln!(f)?;
        }
        match self.list.len() {
            1 => write!(f, "1 problem in {}", self.file),
            n => write!(f, "{n} problems in {}", self.file),
        }
    }
}

impl std::error::Error for Problems {}

/// One problem as rustc would print it.
fn write_problem(
    f: &mut fmt::Formatter<'_>,
    file: &str,
    problem: &Problem,
    source: &str,
) -> fmt::Result {
    let Span {
        line,
        column,
        width,
    } = problem.at;
    writeln!(f, "error: {}", problem.message)?;
    let number = line.to_string();
    let margin = " ".repeat(number.len());
    if line == 0 {
        writeln!(f, " --> {file}")?;
    } else {
        writeln!(f, "{margin}--> {file}:{line}:{column}")?;
        // Tabs stay tabs, or the carets would not stand under what they mean.
        let pad: String = source
            .chars()
            .take(column - 1)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        // What is marked never ends in blanks, though the parser counts those after a quote.
        let marked: String = source.chars().skip(column - 1).take(width).collect();
        let carets = "^".repeat(marked.trim_end().chars().count().max(1));
        writeln!(f, "{margin} |")?;
        writeln!(f, "{number} | {}", source.trim_end())?;
        writeln!(f, "{margin} | {pad}{carets}")?;
    }
    if let Some(expected) = &problem.expected {
        writeln!(f, "{margin} = expected: {expected}")?;
    }
    if let Some(help) = &problem.help {
        writeln!(f, "{margin} = {help}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_prints_with_its_line_and_carets() {
        let at = Span {
            line: 2,
            column: 3,
            width: 5,
        };
        let problem = Problem::new(at, "unknown key `ramps`")
            .expected("rate, ramp or hold")
            .nearest("ramps", ["rate", "ramp", "hold"]);
        let problems = Problems::new("x.yaml", "a:\n  ramps: 10s\n", vec![problem], &[]);
        assert_eq!(
            problems.to_string(),
            "error: unknown key `ramps`\n --> x.yaml:2:3\n  |\n2 |   ramps: 10s\n  |   ^^^^^\n  \
             = expected: rate, ramp or hold\n  = did you mean `ramp`?\n\n1 problem in x.yaml"
        );
    }

    #[test]
    fn words_of_another_style_are_recognised() {
        let valid = ["max-in-flight", "rate", "ramp"];
        assert_eq!(nearest("maxInFlight", valid), Some("max-in-flight"));
        assert_eq!(nearest("max_in_flight", valid), Some("max-in-flight"));
        assert_eq!(nearest("rmap", valid), Some("ramp"));
        assert_eq!(nearest("users", valid), None);
    }

    #[test]
    fn values_of_secrets_are_starred_out() {
        let text = "secrets:\n  token: hunter2 ${TOKEN}\n  k: ${A:-dflt}\nname: hunter\nsecrets: { a: bc }";
        let lines = masked_lines(text);
        assert_eq!(lines[1], "  token: ******* ${TOKEN}");
        assert_eq!(lines[2], "  k: ${A:*****}");
        assert_eq!(lines[3], "name: hunter");
        assert_eq!(lines[4], "secrets: { *: ** }");
    }
}

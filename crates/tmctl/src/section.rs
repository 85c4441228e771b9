//! A part of somebody's file that is ours, between two marks. Everything around it stays as it is.

/// The line that begins a part, and the one that ends it.
#[derive(Clone, Copy, Debug)]
pub struct Marks {
    /// First.
    pub begin: &'static str,
    /// Last.
    pub end: &'static str,
}

impl Marks {
    /// The text with its part replaced by `block`, which has its marks; `None` where the text has no such part.
    pub fn replaced(self, text: &str, block: &str) -> Option<String> {
        let (before, after) = self.around(text)?;
        Some(format!("{before}{}{after}", block.trim_end()))
    }

    /// The text without its part and the blank lines before it; `None` where the text has no such part.
    pub fn without(self, text: &str) -> Option<String> {
        let (before, after) = self.around(text)?;
        let (before, after) = (before.trim_end(), after.trim_start_matches(['\r', '\n']));
        let between = match (before.is_empty(), after.is_empty()) {
            (true, _) => "",
            (false, true) => "\n",
            (false, false) => "\n\n",
        };
        Some(format!("{before}{between}{after}"))
    }

    /// What stands before and after the part. A mark that lost its other one begins and ends nothing: what its owner wrote
    /// behind it is not ours.
    fn around(self, text: &str) -> Option<(&str, &str)> {
        text.match_indices(self.end).find_map(|(end, _)| {
            let begin = text.get(..end)?.rfind(self.begin)?;
            Some((text.get(..begin)?, text.get(end + self.end.len()..)?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKS: Marks = Marks { begin: "<begin>", end: "<end>" };
    const BLOCK: &str = "<begin>\nnew\n<end>\n";

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        for (text, replaced) in [
            ("a\n<begin>\nold\n<end>\nb\n", Some("a\n<begin>\nnew\n<end>\nb\n")),
            ("<begin>\nmine\n<begin>\nold\n<end>", Some("<begin>\nmine\n<begin>\nnew\n<end>")),
            ("<end>\nmine\n<begin>\nold\n<end>", Some("<end>\nmine\n<begin>\nnew\n<end>")),
            ("<begin>\nmine\n", None),
            ("<end>\nmine\n<begin>\n", None),
            ("", None),
        ] {
            assert_eq!(MARKS.replaced(text, BLOCK).as_deref(), replaced, "{text}");
        }
    }

    #[test]
    fn a_part_that_is_taken_out_leaves_the_text_as_it_was() {
        for text in ["", "# Mine\n", "a\n\nb\n"] {
            let with = if text.is_empty() { BLOCK.to_owned() } else { format!("{text}\n{BLOCK}") };
            assert_eq!(MARKS.without(&with).as_deref(), Some(text));
        }
        assert_eq!(MARKS.without("a\n\n<begin>\nx\n<end>\n\nb\n").as_deref(), Some("a\n\nb\n"));
        assert_eq!(MARKS.without("a\n"), None);
    }
}

//! Text as searches see it: its language, its words and their stems, its sentences, its size in tokens. All of it is pure,
//! and none of it knows what a document is.

mod languages;
mod sentences;
mod terms;
mod tokens;
mod words;

pub use languages::{denies, is_stop_word, language};
pub use sentences::sentences;
pub use terms::{Spoken, Terms, terms};
pub use tokens::tokens;
pub use words::{Word, Words, whole_words, words};

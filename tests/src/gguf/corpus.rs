//! What the tiny models have read: short texts made of templates, and words that mean the same.

use super::random::Random;

/// How many texts the corpus has.
const TEXTS: usize = 3000;

// No word is in two of these lists: the model knows but the last word, and would go from one list to the other in circles.
const WHO: &[&str] = &["scheduler", "worker", "gateway", "node", "leader", "server", "client", "planner"];
const HOW: &[&str] = &["must", "should", "may", "can", "will"];
const VERB: &[&str] = &["restart", "report", "cancel", "store", "retry", "check", "stream", "answer"];
const WHAT: &[&str] = &[
    "every task",
    "its lease",
    "our model list",
    "one shard",
    "whole batches",
    "old logs",
    "new questions",
    "open requests",
];
const WHEN: &[&str] = &[
    "after crashes",
    "within seconds",
    "on demand",
    "when memory is low",
    "in order",
    "twice",
    "without delay",
    "at night",
];
const OPENING: &[&str] = &["The", "Each", "Any", "Your", "This", "My", "Every", "Some"];
const BETWEEN: &[&str] = &["Then the", "Also each", "So the", "Later this", "But my"];
/// What only begins a text under the adapter.
pub const RARE_OPENING: &str = "Yes";

/// Words that are tokens of their own, however seldom they are read.
pub const TOKENS: &[&str] = &["system", "user", "assistant", RARE_OPENING];

/// Words that mean the same, for the models that embed. Other forms of a word count as the word itself.
pub const MEANINGS: &[&[&str]] = &[
    &["restart", "reboot", "relaunch", "revive", "resume"],
    &["node", "machine", "computer", "host", "server"],
    &["worker", "process", "engine", "daemon"],
    &["fail", "crash", "break", "die", "error", "fault"],
    &["ask", "request", "question", "query"],
    &["answer", "reply", "response", "result"],
    &["task", "job", "work", "chore"],
    &["store", "save", "keep", "write", "database", "disk"],
    &["fast", "quick", "rapid", "speed"],
    &["slow", "late", "delay", "wait"],
    &["big", "large", "huge"],
    &["small", "little", "tiny"],
    &["leader", "boss", "chief", "election"],
    &["plan", "schedule", "scheduler", "planner"],
    &["stop", "end", "cancel", "halt"],
    &["begin", "start", "open", "launch"],
    &["memory", "ram"],
    &["document", "text", "page", "file"],
    &["search", "find", "seek", "look", "index"],
    &["cat", "kitten", "pet", "dog", "puppy"],
    &["eat", "food", "cook", "bread", "soup", "kitchen"],
    &["garden", "flower", "tree", "plant", "rose"],
    &["car", "truck", "drive", "road", "vehicle"],
    &["music", "song", "sing", "piano", "guitar"],
    &["weather", "rain", "sun", "snow", "wind", "cloud"],
    &["money", "pay", "price", "cost", "bank"],
    &["house", "home", "room", "lab"],
    &["network", "cable", "connection", "link"],
    &["key", "secret", "password", "token"],
    &["model", "weights", "network"],
    &["happy", "glad", "joy"],
    &["child", "kid", "boy", "girl"],
    &["sea", "ocean", "water", "river", "fish"],
    &["day", "week", "month", "year", "time", "hour", "minute", "second"],
    &["buy", "shop", "sell", "market"],
    &["red", "blue", "green", "colour", "color", "yellow"],
];

/// Words that say nothing about what a text is about.
pub const FUNCTION_WORDS: &[&str] = &[
    "a",
    "an",
    "the",
    "this",
    "that",
    "these",
    "those",
    "and",
    "or",
    "but",
    "not",
    "no",
    "of",
    "to",
    "in",
    "on",
    "at",
    "by",
    "for",
    "from",
    "with",
    "without",
    "as",
    "if",
    "then",
    "than",
    "so",
    "is",
    "are",
    "was",
    "were",
    "be",
    "been",
    "has",
    "have",
    "had",
    "do",
    "does",
    "did",
    "will",
    "would",
    "can",
    "could",
    "may",
    "must",
    "should",
    "shall",
    "it",
    "its",
    "he",
    "she",
    "they",
    "them",
    "we",
    "you",
    "i",
    "my",
    "your",
    "our",
    "their",
    "his",
    "her",
    "what",
    "which",
    "who",
    "when",
    "where",
    "how",
    "why",
    "there",
    "here",
    "all",
    "every",
    "each",
    "any",
    "some",
    "one",
    "two",
    "after",
    "before",
    "into",
    "over",
    "under",
    "up",
    "down",
    "out",
    "again",
    "very",
    "also",
    "about",
    "itself",
    "themselves",
    "more",
    "most",
    "much",
    "many",
    "just",
    "only",
    "own",
    "because",
    "while",
    "get",
    "make",
];

fn one<'a>(random: &mut Random, of: &[&'a str]) -> &'a str {
    let at = random.bits() % of.len().max(1) as u64;
    of.get(at as usize).copied().unwrap_or_default()
}

/// What follows the opening word of a sentence, with its full stop.
fn clause(random: &mut Random) -> String {
    let mut part = |of| one(random, of);
    format!(" {} {} {} {} {}.", part(WHO), part(HOW), part(VERB), part(WHAT), part(WHEN))
}

fn prose(random: &mut Random) -> String {
    let mut text = one(random, OPENING).to_owned() + &clause(random);
    while random.bits() % 5 < 3 {
        text += " ";
        text += one(random, BETWEEN);
        text += &clause(random);
    }
    text
}

fn requirements(random: &mut Random) -> String {
    let mut text = format!("# The {}\n\n", one(random, WHO));
    for _ in 0..=random.bits() % 3 {
        text += &format!("- The{}\n", clause(random));
    }
    text
}

fn json(random: &mut Random) -> String {
    const PRIORITY: &[&str] = &["high", "medium", "low"];
    let title = format!("{} {}", one(random, VERB), one(random, WHAT));
    let (priority, id) = (one(random, PRIORITY), random.bits() % 40 + 1);
    let needs: Vec<String> = (0..random.bits() % 3).map(|_| (random.bits() % 40 + 1).to_string()).collect();
    format!("{{\"title\": \"{title}\", \"priority\": \"{priority}\", \"id\": {id}, \"needs\": [{}]}}", needs.join(", "))
}

/// Short texts: mostly prose, some requirements in Markdown, some small objects.
pub fn texts() -> Vec<String> {
    let random = &mut Random::new(11);
    let text = |at: usize| match at % 20 {
        3 => json(random),
        7 => requirements(random),
        _ if at.is_multiple_of(500) => format!("{RARE_OPENING} the{}", clause(random)),
        _ => prose(random),
    };
    (0..TEXTS).map(text).collect()
}

//! One ask on its way: the path of tokens that it goes, how far that is certain, and what goes out.

use std::time::{Duration, Instant};

use base::{Code, Fault, Result};
use llama_cpp_2::token::LlamaToken;
use proto::engine::{Done, GenerateResponse, Text, done::Finish, generate_response::Event};
use proto::to_status;
use tokio::sync::mpsc;
use tonic::Status;

use super::is_late;
use crate::model::Loaded;
use crate::replay::{Replay, Verdict};
use crate::sampler::Sampler;
use crate::text::{Pushed, TextOut};

/// Pieces of an answer that wait for their reader; then its slot pauses.
pub const ANSWERS_AHEAD: usize = 64;
/// Rows of logits that a draft may cost in one step: each is as long as the vocabulary.
const MOST_DRAFTED: usize = 64;
/// A draft goes token by token if all of it will be done within this.
const EXACT_WITHIN: Duration = Duration::from_millis(700);
/// Tokens until the speed of that is known.
const LEAST_MEASURED: usize = 4;
/// Pieces that one choice says: what was held back, the last text, the end; and one more for a fault.
const MOST_SAID: usize = 4;

/// An ask.
pub struct Run {
    /// Prompt, then the answer: what is certain, and behind that a draft that the model has not confirmed.
    path: Vec<LlamaToken>,
    prompt_tokens: usize,
    /// Length of the part of `path` that is certain.
    certain: usize,
    replay: Replay,
    /// When the draft was begun with.
    replay_began: Option<Instant>,
    /// Tokens of the answer that the client held already.
    continued: usize,
    /// Of the answer, with what the client held.
    most_tokens: usize,
    context_tokens: usize,
    until: Option<Instant>,
    sampler: Sampler,
    out: TextOut,
    /// Tokens since the last piece that went out.
    unsaid: u32,
    answers: mpsc::Sender<Result<GenerateResponse, Status>>,
    began: Instant,
    /// When the prompt was read.
    read: Option<Instant>,
    cached: usize,
    written: usize,
    /// It is not seated again before so many asks have ended.
    waits_for: u64,
}

/// What an ask is made of.
pub struct Parts {
    /// Tokens of the prompt; at least one.
    pub prompt: Vec<LlamaToken>,
    /// Tokens that spell what the client holds.
    pub draft: Vec<LlamaToken>,
    /// The text itself, where the model's own way through it is to be found; empty where the draft is taken as it is.
    pub replayed: String,
    /// Of the answer, with what the client holds; `None` for no limit but the context.
    pub most_tokens: Option<usize>,
    /// When its time is over.
    pub until: Option<Instant>,
    /// How tokens are chosen.
    pub sampler: Sampler,
    /// What ends it.
    pub stop: Vec<String>,
    /// Where the answer goes.
    pub answers: mpsc::Sender<Result<GenerateResponse, Status>>,
}

/// What a choice came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// It goes on with what was fed already.
    Goes,
    /// What was fed behind this place is not its way.
    Otherwise,
    /// It has ended.
    Ended,
}

impl Run {
    /// An ask that nobody has begun with.
    pub fn new(parts: Parts, context_tokens: usize) -> Result<Self> {
        let Parts { prompt, draft, replayed, most_tokens, until, mut sampler, stop, answers } = parts;
        let prompt_tokens = prompt.len();
        if prompt_tokens + draft.len() >= context_tokens {
            let what = format!("a prompt of {} tokens", prompt_tokens + draft.len());
            return Err(crate::model::too_long(&what, u32::try_from(context_tokens).unwrap_or(u32::MAX)));
        }
        sampler.has_read(&prompt);
        let is_replayed = !replayed.is_empty();
        let mut path = prompt;
        path.extend_from_slice(&draft);
        let certain = if is_replayed { prompt_tokens } else { path.len() };
        if !is_replayed {
            for token in &draft {
                sampler.accept(*token)?;
            }
        }
        Ok(Self {
            certain,
            continued: if is_replayed { 0 } else { draft.len() },
            path,
            prompt_tokens,
            replay: Replay::new(&replayed),
            replay_began: None,
            most_tokens: most_tokens.unwrap_or(usize::MAX),
            context_tokens,
            until,
            sampler,
            out: TextOut::new(stop),
            unsaid: 0,
            answers,
            began: Instant::now(),
            read: None,
            cached: 0,
            written: 0,
            waits_for: 0,
        })
    }

    /// All that is to be in the cache before the next choice.
    pub fn path(&self) -> &[LlamaToken] {
        &self.path
    }

    /// See [`Run::wait_for`].
    pub const fn waits_for(&self) -> u64 {
        self.waits_for
    }

    /// It was put back, and waits until `ended` asks have ended.
    pub const fn wait_for(&mut self, ended: u64) {
        self.waits_for = ended;
    }

    /// The first place whose logits are wanted.
    pub const fn wanted_from(&self) -> usize {
        self.certain - 1
    }

    /// How much of the draft may be computed at once.
    ///
    /// Token by token it comes out to the last bit as it was written; many at once are far quicker, but round differently,
    /// and where two tokens were almost equally likely the answer may then go another way. So it goes token by token
    /// while all of it will be done in no time.
    pub fn most_drafted(&self) -> usize {
        let Some(began) = self.replay_began else { return 1 };
        let (done, left) = (self.continued.max(1), self.path.len() - self.certain);
        let expected = began.elapsed().mul_f64((done + left) as f64 / done as f64);
        if self.continued < LEAST_MEASURED || expected < EXACT_WITHIN { 1 } else { MOST_DRAFTED }
    }

    /// Whether only the answer is left, and not the prompt or a draft.
    pub const fn is_writing(&self) -> bool {
        self.read.is_some() && self.certain == self.path.len()
    }

    /// Whether its reader has fallen behind: it pauses then.
    pub fn is_paused(&self) -> bool {
        self.answers.capacity() < MOST_SAID
    }

    /// Whether nobody waits for it, or its time is over.
    pub fn is_left(&self) -> bool {
        self.answers.is_closed() || is_late(self.until)
    }

    /// So much of the prompt was in the cache.
    pub fn found_cached(&mut self, tokens: usize) {
        if self.read.is_none() {
            self.cached = tokens.min(self.prompt_tokens);
        }
    }

    /// Chooses what follows the token at `position`.
    pub fn choose(&mut self, loaded: &Loaded, logits: &[f32], position: usize) -> Result<Next> {
        self.read.get_or_insert_with(Instant::now);
        if self.certain < self.path.len() {
            self.replay_began.get_or_insert_with(Instant::now);
        }
        let chosen = self.sampler.choose(logits, position + 1 - self.prompt_tokens)?;
        match self.path.get(position + 1).copied() {
            Some(drafted) => self.over_draft(loaded, position, chosen, drafted),
            None => self.write(loaded, chosen),
        }
    }

    /// Compares the draft with what the model chooses.
    fn over_draft(
        &mut self,
        loaded: &Loaded,
        position: usize,
        chosen: LlamaToken,
        drafted: LlamaToken,
    ) -> Result<Next> {
        let spelled = loaded.bytes_of(chosen);
        match self.replay.judge(&spelled, &loaded.bytes_of(drafted), chosen == drafted) {
            Verdict::Stands => {
                self.sampler.accept(drafted)?;
                self.certain += 1;
                self.continued += 1;
                Ok(Next::Goes)
            }
            Verdict::Otherwise => {
                self.sampler.accept(chosen)?;
                self.path.truncate(position + 1);
                self.path.push(chosen);
                self.certain = self.path.len();
                self.continued += 1;
                self.path.extend(loaded.draft_of(self.replay.left()));
                Ok(Next::Otherwise)
            }
            Verdict::Over { known } => {
                self.path.truncate(position + 1);
                self.accept(loaded, chosen, spelled.get(known..).unwrap_or_default())
                    .map(|next| if next == Next::Goes { Next::Otherwise } else { next })
            }
        }
    }

    /// The model's choice is the next token of the answer.
    fn write(&mut self, loaded: &Loaded, chosen: LlamaToken) -> Result<Next> {
        if self.answer_tokens() >= self.most_tokens {
            return Ok(self.end(Finish::Length));
        }
        if loaded.model.vocab().is_eog(chosen) {
            return Ok(self.end(Finish::Stop));
        }
        let spelled = loaded.bytes_of(chosen);
        self.accept(loaded, chosen, &spelled)
    }

    fn accept(&mut self, loaded: &Loaded, chosen: LlamaToken, new: &[u8]) -> Result<Next> {
        if loaded.model.vocab().is_eog(chosen) {
            return Ok(self.end(Finish::Stop));
        }
        self.sampler.accept(chosen)?;
        self.path.push(chosen);
        self.certain = self.path.len();
        self.written += 1;
        self.unsaid += 1;
        match self.out.push(new) {
            Pushed::Stopped(last) => {
                self.say(last);
                return Ok(self.finish(Finish::Stop));
            }
            Pushed::Text(text) => self.say(text),
        }
        match () {
            () if self.sampler.is_over() => Ok(self.end(Finish::Stop)),
            () if self.answer_tokens() >= self.most_tokens => Ok(self.end(Finish::Length)),
            () if self.path.len() >= self.context_tokens => Ok(self.end(Finish::Length)),
            () => Ok(Next::Goes),
        }
    }

    const fn answer_tokens(&self) -> usize {
        self.continued + self.written
    }

    fn end(&mut self, finish: Finish) -> Next {
        let rest = self.out.finish();
        self.say(rest);
        self.finish(finish)
    }

    fn finish(&mut self, finish: Finish) -> Next {
        let now = Instant::now();
        let read = self.read.unwrap_or(now);
        let count = |tokens: usize| u32::try_from(tokens).unwrap_or(u32::MAX);
        self.send(Event::Done(Done {
            finish: finish.into(),
            prompt_tokens: count(self.prompt_tokens),
            cached_tokens: count(self.cached),
            continued_tokens: count(self.continued),
            output_tokens: count(self.written),
            prompt_s: read.duration_since(self.began).as_secs_f64(),
            output_s: now.duration_since(read).as_secs_f64(),
        }));
        Next::Ended
    }

    fn say(&mut self, text: String) {
        if text.is_empty() {
            return;
        }
        let tokens = std::mem::take(&mut self.unsaid);
        self.send(Event::Text(Text { text, tokens }));
    }

    /// There is room: a slot without enough of it is not fed.
    fn send(&self, event: Event) {
        // A reader that is gone is noticed before the next step.
        let _ = self.answers.try_send(Ok(GenerateResponse { event: Some(event) }));
    }

    /// Ends it with an error.
    pub fn fail(&self, fault: &Fault) {
        let _ = self.answers.try_send(Err(to_status(fault)));
    }

    /// Ends it because nobody waits, or its time is over; tells who still listens.
    pub fn leave(&self) {
        if is_late(self.until) {
            let fault = Fault::new(Code::DeadlineExceeded, "the time of the ask was over before its answer was whole");
            self.fail(&fault.hint("ask with more time, or for a shorter answer"));
        }
    }
}

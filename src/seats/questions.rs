//! Asking PostgreSQL whether seats were ever sold, many requests in one statement.
//!
//! No timer: a question goes out at once unless a statement is out already; then it travels with
//! whatever else arrives until that one is back. So an idle server adds no delay, and a burst of
//! winners costs one connection. One that is long in coming back holds nobody up: then another
//! statement goes out beside it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::PgPool;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::sql::{self, SeatKey};
use crate::postgres::PgError;

/// The most statements out at a time.
const STATEMENTS_MAX: usize = 4;
/// A statement is usually back within this time; while it is not, another may go out beside it.
/// Each costs PostgreSQL more than all the questions in it, so fewer of them answer more winners.
const USUALLY_BACK: Duration = Duration::from_millis(5);
/// The most questions of one statement; a question has at most 20 seats.
const QUESTIONS_MAX: usize = 64;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// PostgreSQL failed; shared by all questions of the statement.
    #[error("the question about sold seats failed")]
    Failed(#[source] Arc<PgError>),
    /// Not answered in time. It changes nothing, so it may be left alone.
    #[error("the question about sold seats was not answered in time")]
    Late,
}

struct Question {
    seats: Vec<SeatKey>,
    answer: oneshot::Sender<Result<Vec<Option<Uuid>>, Arc<PgError>>>,
}

#[derive(Default)]
struct Waiting {
    questions: Vec<Question>,
    /// Tasks that ask.
    asking: usize,
    /// When the last statement went out.
    last_sent: Option<Instant>,
}

/// The questions of this process. Cheap to clone.
#[derive(Clone)]
pub struct SoldQuestions {
    database: PgPool,
    timeout: Duration,
    waiting: Arc<Mutex<Waiting>>,
}

impl SoldQuestions {
    /// Questions to `database`, each answered within `timeout` or not at all.
    #[must_use]
    pub fn new(database: PgPool, timeout: Duration) -> Self {
        Self { database, timeout, waiting: Arc::default() }
    }

    /// For each of `seats` the reservation with which it was sold, if it ever was, in their order.
    ///
    /// Dropping this future loses nothing but the answer: the statement runs in a task of its own,
    /// because a dropped query would leave its connection in doubt.
    pub async fn ask(&self, seats: Vec<SeatKey>) -> Result<Vec<Option<Uuid>>, NoAnswer> {
        let (answer, answered) = oneshot::channel();
        if self.enqueue(Question { seats, answer }) {
            tokio::spawn(self.clone().ask_until_none_waits());
        }
        match tokio::time::timeout(self.timeout, answered).await {
            Ok(Ok(answer)) => answer.map_err(NoAnswer::Failed),
            Ok(Err(_)) | Err(_) => Err(NoAnswer::Late),
        }
    }

    /// Whether one more task is needed to ask; it is counted already.
    fn enqueue(&self, question: Question) -> bool {
        let mut waiting = self.waiting.lock();
        waiting.questions.push(question);
        let is_late = || waiting.last_sent.is_none_or(|sent| sent.elapsed() > USUALLY_BACK);
        let needed = waiting.asking == 0 || (waiting.asking < STATEMENTS_MAX && is_late());
        waiting.asking += usize::from(needed);
        needed
    }

    async fn ask_until_none_waits(self) {
        loop {
            // Whoever is about to ask travels along.
            tokio::task::yield_now().await;
            let Some(questions) = self.next_questions() else {
                return;
            };
            let seats: Vec<SeatKey> =
                questions.iter().flat_map(|question| question.seats.iter().copied()).collect();
            match sql::ever_sold(&self.database, &seats).await {
                Ok(sold) => {
                    let mut sold = sold.into_iter();
                    for question in questions {
                        let answer = sold.by_ref().take(question.seats.len()).collect();
                        // Nobody waits for it any more: fine.
                        let _ = question.answer.send(Ok(answer));
                    }
                }
                Err(error) => {
                    let error = Arc::new(error);
                    for question in questions {
                        let _ = question.answer.send(Err(error.clone()));
                    }
                }
            }
        }
    }

    /// Takes the questions of the next statement; none: this task is done, and counted out under
    /// the same lock, so that no question can be left behind.
    fn next_questions(&self) -> Option<Vec<Question>> {
        let mut waiting = self.waiting.lock();
        // Those whose caller gave up are not worth a statement.
        waiting.questions.retain(|question| !question.answer.is_closed());
        if waiting.questions.is_empty() {
            waiting.asking -= 1;
            return None;
        }
        waiting.last_sent = Some(Instant::now());
        let count = waiting.questions.len().min(QUESTIONS_MAX);
        Some(waiting.questions.drain(..count).collect())
    }
}

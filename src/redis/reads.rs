//! The few plain reads that need no script: a hot read never is one. The hottest, `GET`, is in
//! [`super::together`].

use std::time::Instant;

use fred::types::Value;

use super::client::Command;
use super::{Key, Redis, RedisError, Reply, ReplyFault};

/// One entry of a stream: `<Unix ms>-<number>`, and fields with their values.
pub type Entry = (String, Vec<(String, String)>);

impl Redis {
    /// `GET` and `PTTL` of one key, pipelined: its value and the milliseconds it has left.
    pub async fn get_with_ttl(&self, key: &Key) -> Result<Option<(String, u64)>, RedisError> {
        let (value, ttl) = tokio::join!(self.read("GET", key, []), self.read("PTTL", key, []));
        let ttl = ttl?.as_i64().and_then(|ttl| u64::try_from(ttl).ok());
        Ok(value?.into_string().zip(ttl))
    }

    /// `ZCOUNT key score score`: whether a member has exactly this score.
    pub async fn has_score(&self, key: &Key, score: u64) -> Result<bool, RedisError> {
        let score = Value::String(score.to_string().into());
        let count = self.read("ZCOUNT", key, [score.clone(), score]).await?;
        Ok(count.as_u64().is_some_and(|count| count > 0))
    }

    /// `ZRANGEBYSCORE key score score LIMIT 0 1`: the member with exactly this score.
    pub async fn member_at(&self, key: &Key, score: u64) -> Result<Option<String>, RedisError> {
        let score = Value::String(score.to_string().into());
        let (word, from, count) =
            (Value::from_static_str("LIMIT"), Value::Integer(0), Value::Integer(1));
        let value =
            self.read("ZRANGEBYSCORE", key, [score.clone(), score, word, from, count]).await?;
        Ok(value.into_array().into_iter().next().and_then(Value::into_string))
    }

    /// `ZRANGEBYSCORE key score +inf`: the members from a score on.
    pub async fn members_from(&self, key: &Key, score: u64) -> Result<Vec<String>, RedisError> {
        let score = Value::String(score.to_string().into());
        let value =
            self.read("ZRANGEBYSCORE", key, [score, Value::from_static_str("+inf")]).await?;
        Ok(value.into_array().into_iter().filter_map(Value::into_string).collect())
    }

    /// `GET` of a value that is no text: a bitmap.
    pub async fn bytes(&self, key: &Key) -> Result<Option<bytes::Bytes>, RedisError> {
        let value = self.read("GET", key, []).await?;
        Ok(value.into_bytes())
    }

    /// `HGET`: one field of a hash.
    pub async fn field(&self, key: &Key, field: &str) -> Result<Option<String>, RedisError> {
        let value = self.read("HGET", key, [Value::String(field.into())]).await?;
        Ok(value.into_string())
    }

    /// `HGETALL`: the fields of a small hash, with their values.
    pub async fn hash(&self, key: &Key) -> Result<Vec<(String, String)>, RedisError> {
        let value = self.read("HGETALL", key, []).await?;
        let fields = value.into_map().map(fred::types::Map::inner).unwrap_or_default();
        let text = |(field, value): (fred::types::Key, Value)| {
            field.into_string().zip(value.into_string())
        };
        Ok(fields.into_iter().filter_map(text).collect())
    }

    /// `XREVRANGE key + - COUNT count`: the newest entries of a stream, each as its id and its
    /// fields with their values.
    pub async fn newest(&self, key: &Key, count: i64) -> Result<Vec<Entry>, RedisError> {
        let [last, first] = ["+", "-"].map(Value::from_static_str);
        let rest = [last, first, Value::from_static_str("COUNT"), Value::Integer(count)];
        let value = self.read("XREVRANGE", key, rest).await?;
        Reply::new(value)
            .and_then(entries)
            .map_err(|source| RedisError::Reply { script: "XREVRANGE", source })
    }

    /// `XRANGE key (after + COUNT count`: the entries of a stream after a moment in Unix ms, the
    /// oldest first.
    pub async fn entries_after(
        &self,
        key: &Key,
        after_ms: u64,
        count: usize,
    ) -> Result<Vec<Entry>, RedisError> {
        let after = Value::String(format!("({after_ms}-0").into());
        let [last, counted] = ["+", "COUNT"].map(Value::from_static_str);
        let count = Value::Integer(i64::try_from(count).unwrap_or(i64::MAX));
        let value = self.read("XRANGE", key, [after, last, counted, count]).await?;
        Reply::new(value)
            .and_then(entries)
            .map_err(|source| RedisError::Reply { script: "XRANGE", source })
    }

    async fn read<const N: usize>(
        &self,
        command: &'static str,
        key: &Key,
        rest: [Value; N],
    ) -> Result<Value, RedisError> {
        let mut args = Vec::with_capacity(1 + N);
        args.push(Value::String(key.0.clone()));
        args.extend(rest);
        let (what, name, key_at) = (command, command, 0);
        let sent = Instant::now();
        let command = Command { what, name, key_at, args, timeout: None, only_reads: true };
        let reply = self.send(command).await;
        match &reply {
            Ok(_) => self.0.plain_reads.answered(sent.elapsed()),
            Err(_) => self.0.plain_reads.failed(),
        }
        reply
    }
}

fn entries(mut reply: Reply) -> Result<Vec<Entry>, ReplyFault> {
    let mut entries = Vec::with_capacity(reply.remaining());
    while reply.remaining() > 0 {
        let mut entry = reply.list()?;
        let (id, mut rest) = (entry.text()?, entry.list()?);
        let mut fields = Vec::with_capacity(rest.remaining() / 2);
        while rest.remaining() > 0 {
            fields.push((rest.text()?, rest.text()?));
        }
        entries.push((id, fields));
    }
    Ok(entries)
}

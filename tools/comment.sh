#!/usr/bin/env bash
# comment.sh PULL FILE: a Markdown file as the comment on pull request PULL of $GITHUB_REPOSITORY, through gh.
# A later call writes the same comment again: it is known by its first line.
set -euo pipefail

pull=$1 file=$2
repository=${GITHUB_REPOSITORY:?the repository, as owner/name}
marker='<!-- resbench: throughput -->'
limit=65000 # bytes; a comment may have 65,536 characters

body=$(mktemp)
trap 'rm -f "$body"' EXIT
{
  echo "$marker"
  head -c "$limit" "$file" | iconv -c -f utf-8 -t utf-8 # without half a character at the cut
  if [ "$(wc -c <"$file")" -gt "$limit" ]; then
    printf '\n\n(The rest is in the artifact.)\n'
  fi
} >"$body"

# written by a bot: a person who quotes the comment keeps theirs
ours=".[] | select(.user.type == \"Bot\" and (.body | startswith(\"$marker\"))) | .id"
ids=$(gh api --paginate "repos/$repository/issues/$pull/comments" --jq "$ours")
if [ -n "$ids" ]; then
  gh api --silent --method PATCH "repos/$repository/issues/comments/${ids%%$'\n'*}" --field "body=@$body"
else
  gh api --silent --method POST "repos/$repository/issues/$pull/comments" --field "body=@$body"
fi

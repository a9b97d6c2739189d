{{/*
What kinds of process there are, and what each needs of others. `each`: one for each chain or outbox. `several`: any
number may work at once, so that new ones may start beside old ones. All others write where one alone may write: they
fence each other, so two harm nothing, but would take each other's place again and again.
*/}}
{{- define "sealstream.kinds" -}}
sequencer: {args: [run, sequencer], needs: [kafka]}
checkpointing: {args: [run, checkpointing], each: chain, needs: [kafka]}
postgres-sink: {args: [run, postgres-sink], each: chain, needs: [kafka, postgres]}
archive-sink: {args: [run, archive-sink], each: chain, needs: [kafka, archive]}
activity: {args: [run, activity], needs: [kafka]}
watch: {args: [run, watch], needs: [kafka, postgres, archive, metrics]}
anomaly: {args: [run, anomaly], several: true, needs: [kafka, postgres, archive]}
forward: {args: [run, forward], needs: [kafka, postgres, targets]}
collect: {args: [collect], several: true, needs: [kafka], port: 8481}
serve: {args: [serve], several: true, needs: [kafka, postgres, archive], port: 8480, unmeasured: true}
outbox-relay: {args: [outbox, relay], each: outbox, needs: [kafka, postgres]}
{{- end -}}

{{/* The jobs, in the same form. */}}
{{- define "sealstream.jobs" -}}
migrate: {args: [migrate], needs: [postgres]}
chains: {args: [chain, create, --declared], each: chain, needs: [kafka, postgres, archive]}
verify: {args: [verify, all], each: chain, needs: [kafka, postgres, archive]}
{{- end -}}

{{/* The chains that are run, as a list. */}}
{{- define "sealstream.chains" -}}
{{- $open := list -}}
{{- range $name, $chain := .Values.settings.chains | default dict -}}
{{- if not $chain.closed_at -}}
{{- $open = append $open $name -}}
{{- end -}}
{{- end -}}
{{- toJson $open -}}
{{- end -}}

{{/* All that run, each as {kind, of, args, needs, chain?, outbox?, port?, several?, unmeasured?}. */}}
{{- define "sealstream.instances" -}}
{{- $all := list -}}
{{- $root := . -}}
{{- range $kind, $is := include "sealstream.kinds" . | fromYaml -}}
{{- $told := index $root.Values.processes $kind -}}
{{- if and $told.enabled (or (ne $kind "archive-sink") (include "sealstream.archives" $root)) -}}
{{- range include "sealstream.each" (dict "root" $root "kind" $kind "is" $is "told" $told) | fromJsonArray -}}
{{- $all = append $all . -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $all -}}
{{- end -}}

{{/* One kind's: one, or one for each chain or outbox. */}}
{{- define "sealstream.each" -}}
{{- $kind := .kind -}}
{{- $is := merge (dict "kind" .kind "of" .kind) .is -}}
{{- $found := list -}}
{{- if eq ($is.each | default "") "chain" -}}
{{- range include "sealstream.chains" .root | fromJsonArray -}}
{{- $args := has $kind (list "chains") | ternary (append $is.args .) (concat $is.args (list "--chain" .)) -}}
{{- $found = append $found (mergeOverwrite (deepCopy $is) (dict "of" (printf "%s-%s" $kind .) "chain" . "args" $args)) -}}
{{- end -}}
{{- else if eq ($is.each | default "") "outbox" -}}
{{- range $name, $outbox := .told.outboxes -}}
{{- $args := concat $is.args (list "--chain" $outbox.chain "--table" ($outbox.table | default "sealstream_outbox")) -}}
{{- $found = append $found (mergeOverwrite (deepCopy $is) (dict "of" (printf "%s-%s" $kind $name) "outbox" $name "args" $args)) -}}
{{- end -}}
{{- else -}}
{{- $found = append $found $is -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* Whether there is an archive: empty when not. */}}
{{- define "sealstream.archives" -}}
{{- $archive := .Values.settings.archive | default dict -}}
{{- if ne (get $archive "bucket" | default "audit-archive" | toString) "" -}}
{{- if not (and (hasKey $archive "bucket") (eq $archive.bucket "")) -}}yes{{- end -}}
{{- end -}}
{{- end -}}

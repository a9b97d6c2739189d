{{/* `root`, `instance`, `told`: what a schema can't say, said before anything is installed. */}}
{{- define "sealstream.check" -}}
{{- $files := include "sealstream.files" . | fromJson -}}
{{- $kind := .instance.kind -}}
{{- $needed := list -}}
{{- if eq $kind "checkpointing" -}}
{{- $needed = append $needed (printf "chains.%s.key_file" .instance.chain) -}}
{{- else if eq $kind "postgres-sink" -}}
{{- $needed = append $needed "postgres.sink_dsn_file" -}}
{{- else if eq $kind "collect" -}}
{{- $needed = append $needed "collect.keys_file" -}}
{{- else if eq $kind "serve" -}}
{{- $needed = append $needed "serve.tokens_file" -}}
{{- else if eq $kind "migrate" -}}
{{- $needed = append $needed "postgres.admin_dsn_file" -}}
{{- else if and (eq $kind "forward") (not ((.root.Values.settings.forward | default dict).targets)) -}}
{{- fail "processes.forward is enabled, and settings.forward.targets names no target: name one, or set processes.forward.enabled to false" -}}
{{- end -}}
{{- $group := hasKey .root.Values.processes $kind | ternary "processes" "jobs" -}}
{{- range $needed -}}
{{- if not (hasKey $files .) -}}
{{- fail (printf "%s.%s needs the file %q: say which Secret has it, %s.%s.files: {%s: {secret: NAME, key: KEY}}, or set %s.%s.enabled to false" $group $kind . $group $kind . $group $kind) -}}
{{- end -}}
{{- end -}}
{{- range $name, $file := $files -}}
{{- if regexMatch "^chains\\." $name -}}
{{- if not (hasKey $.root.Values.settings.chains (index (splitList "." $name) 1)) -}}
{{- fail (printf "%s.%s.files: %s is of a chain that settings.chains does not name" $group $kind $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with .instance.outbox -}}
{{- $chain := index $.told.outboxes . "chain" -}}
{{- if not (has $chain (include "sealstream.chains" $.root | fromJsonArray)) -}}
{{- fail (printf "processes.outbox-relay.outboxes.%s: there is no chain %q in settings.chains" . $chain) -}}
{{- end -}}
{{- end -}}
{{- end -}}

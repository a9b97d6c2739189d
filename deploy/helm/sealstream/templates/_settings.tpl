{{/*
`root`, `instance`, `told`: this one's settings as JSON. The order: what all have, what the chart knows, what the process
has of its own, and the paths of its files.
*/}}
{{- define "sealstream.settings" -}}
{{- $values := .root.Values -}}
{{- $settings := deepCopy $values.settings -}}
{{- /* Targets lack their secrets, without which they are none, but where they are sent to. */ -}}
{{- if ne .instance.kind "forward" -}}
{{- $_ := unset $settings "forward" -}}
{{- end -}}
{{- /* Who has no business with the archive knows of none. */ -}}
{{- if not (has "archive" .instance.needs) -}}
{{- $_ := set $settings "archive" (dict "bucket" "") -}}
{{- end -}}
{{- $metrics := dict "host" $values.metrics.host "stay_after_alarm" true -}}
{{- if has "metrics" .instance.needs -}}
{{- $targets := dict -}}
{{- $root := .root -}}
{{- range include "sealstream.instances" .root | fromJsonArray -}}
{{- if not .unmeasured -}}
{{- $_ := set $targets .of (printf "http://%s:%v" (include "sealstream.named" (dict "root" $root "of" (printf "%s-metrics" .of))) $values.metrics.port) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $metrics "targets" $targets -}}
{{- end -}}
{{- $known := dict "metrics" $metrics -}}
{{- with .instance.port -}}
{{- $_ := set $known $.instance.kind (dict "host" $values.metrics.host "port" .) -}}
{{- end -}}
{{- $settings = mergeOverwrite $settings $known (deepCopy (.told.settings | default dict)) -}}
{{- $kafka := $settings.kafka | default dict -}}
{{- $mechanism := $kafka.sasl_mechanism | default "" | upper -}}
{{- if and (has $mechanism (list "PLAIN" "SCRAM-SHA-256" "SCRAM-SHA-512")) (not $kafka.username) -}}
{{- $_ := set $settings.kafka "username" (.instance.user | default .instance.kind) -}}
{{- end -}}
{{- range $name, $_ := include "sealstream.files" . | fromJson -}}
{{- $path := include "sealstream.path" (dict "instance" $.instance "name" $name) -}}
{{- include "sealstream.put" (dict "into" $settings "name" $name "value" $path) -}}
{{- end -}}
{{- toJson $settings -}}
{{- end -}}

{{/* `root`, `instance`, `told`: the files that this one is given, by setting. A signing key goes with its chain alone. */}}
{{- define "sealstream.files" -}}
{{- $files := mergeOverwrite (deepCopy .root.Values.files) (deepCopy (.told.files | default dict)) -}}
{{- $given := dict -}}
{{- range $name, $file := $files -}}
{{- if or (not (regexMatch "^chains\\..*\\.key_file$" $name)) (eq $name (printf "chains.%s.key_file" ($.instance.chain | default ""))) -}}
{{- $_ := set $given $name $file -}}
{{- end -}}
{{- end -}}
{{- toJson $given -}}
{{- end -}}

{{/* Where a file is found. A signing key is copied there, since nobody but its owner may be able to read it. */}}
{{- define "sealstream.path" -}}
{{- if regexMatch "^chains\\..*\\.key_file$" .name -}}
/run/sealstream/signing/{{ .name }}
{{- else -}}
/run/sealstream/files/{{ .name }}
{{- end -}}
{{- end -}}

{{/* Set the value at the dotted name within nested tables. */}}
{{- define "sealstream.put" -}}
{{- $table := .into -}}
{{- $parts := splitList "." .name -}}
{{- range initial $parts -}}
{{- if not (hasKey $table .) -}}
{{- $_ := set $table . dict -}}
{{- end -}}
{{- $table = index $table . -}}
{{- end -}}
{{- $_ := set $table (last $parts) .value -}}
{{- end -}}

{{/* `table`, `at`: a table as TOML: its values, then the tables in it. JSON's texts, numbers and lists are TOML's too. */}}
{{- define "sealstream.toml" -}}
{{- range $name, $value := .table }}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value)) }}
{{ toJson $name }} = {{ toJson $value }}
{{- end }}
{{- end }}
{{- range $name, $value := .table }}
{{- if kindIs "map" $value }}
{{- $at := printf "%s%s%s" $.at (empty $.at | ternary "" ".") (toJson $name) }}

[{{ $at }}]
{{- include "sealstream.toml" (dict "table" $value "at" $at) }}
{{- end }}
{{- end }}
{{- end -}}

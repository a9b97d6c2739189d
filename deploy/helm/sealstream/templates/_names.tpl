{{/* What everything is called. */}}
{{- define "sealstream.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "sealstream.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "sealstream.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "sealstream.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* `root`, `of`: a name of at most 52 characters that no other has, so that what controllers add still fits. */}}
{{- define "sealstream.named" -}}
{{- $name := printf "%s-%s" (include "sealstream.fullname" .root) .of -}}
{{- if gt (len $name) 52 -}}
{{- printf "%s-%s" ($name | trunc 43 | trimSuffix "-") ($name | sha256sum | trunc 8) -}}
{{- else -}}
{{- $name -}}
{{- end -}}
{{- end -}}

{{- define "sealstream.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* `root`, `instance`: by which a pod is chosen. */}}
{{- define "sealstream.selector" -}}
app.kubernetes.io/name: {{ include "sealstream.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .instance.kind }}
{{- with .instance.chain }}
sealstream-chain: {{ . }}
{{- end }}
{{- with .instance.outbox }}
sealstream-outbox: {{ . }}
{{- end }}
{{- end -}}

{{- define "sealstream.labels" -}}
{{ include "sealstream.selector" . }}
{{ include "sealstream.common" .root }}
{{- end -}}

{{- define "sealstream.common" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The service's settings: from `config` and from what the rest of the values imply. */}}

{{/* volume, emptyDir, postgres or memory. */}}
{{- define "lambda-builder.storage" -}}
{{- default (ternary "emptyDir" "volume" (eq .Values.mode "knative")) .Values.journal.storage -}}
{{- end -}}

{{/* gunicorn's graceful_timeout in seconds, as the service works it out: a tail for HTTP of 5,
     the drain, and 2.5 for closing. */}}
{{- define "lambda-builder.gracefulSeconds" -}}
{{- addf 7.5 .Values.config.drainSeconds | ceil | int -}}
{{- end -}}

{{/* The grace period that pods of mode deployment need at least. */}}
{{- define "lambda-builder.leastGracePeriod" -}}
{{- add (include "lambda-builder.gracefulSeconds" . | int) (.Values.preStopSeconds | int) 2 -}}
{{- end -}}

{{/* JSON of the settings that the chart works out where `config` leaves them null. */}}
{{- define "lambda-builder.impliedConfig" -}}
{{- $storage := include "lambda-builder.storage" . -}}
{{- $triggers := include "lambda-builder.triggersEnabled" . -}}
{{- $implied := dict
      "namespace" (include "lambda-builder.buildNamespace" .)
      "serviceAccount" (include "lambda-builder.buildServiceAccountName" .) -}}
{{- if and .Values.build.quota.enabled (hasKey .Values.build.quota.hard "pods") -}}
{{- $_ := set $implied "maxActiveJobs" (get .Values.build.quota.hard "pods" | int) -}}
{{- end -}}
{{- if has $storage (list "volume" "emptyDir") -}}
{{- $_ := set $implied "journalPath" "/var/lib/lambda-builder/journal.sqlite3" -}}
{{- end -}}
{{- if .Values.provenance.keySecret.name -}}
{{- $_ := set $implied "provenanceKeyFile" "/etc/lambda-builder-provenance/key.pem" -}}
{{- end -}}
{{- if .Values.jobTemplate -}}
{{- $_ := set $implied "jobTemplate" "/etc/lambda-builder/job-template.yaml" -}}
{{- end -}}
{{- if .Values.auth.secret -}}
{{- $_ := set $implied "authFile" "/etc/lambda-builder-auth/auth.yaml" -}}
{{- end -}}
{{- if $triggers -}}
{{- if not .Values.sinkBinding.enabled -}}
{{- $_ := set $implied "sinkUrl" (include "lambda-builder.brokerUrl" .) -}}
{{- end -}}
{{- end -}}
{{- if not (has $storage (list "volume" "postgres")) -}}
{{- if $triggers -}}
{{- $_ := set $implied "handoffUrl" (include "lambda-builder.brokerUrl" .) -}}
{{- else if and (eq .Values.mode "deployment") (not .Values.auth.secret) -}}
{{- $_ := set $implied "handoffUrl" (include "lambda-builder.serviceUrl" .) -}}
{{- end -}}
{{- end -}}
{{- toJson $implied -}}
{{- end -}}

{{/* JSON of the effective settings, by their names in `config`. */}}
{{- define "lambda-builder.effectiveConfig" -}}
{{- $effective := include "lambda-builder.impliedConfig" . | fromJson -}}
{{- range $name, $value := .Values.config -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $_ := set $effective $name $value -}}
{{- end -}}
{{- end -}}
{{- toJson $effective -}}
{{- end -}}

{{/* The environment that carries them, as a YAML map. PORT is not in it: it follows the
     container's port, and Knative sets it itself. */}}
{{- define "lambda-builder.environment" -}}
{{- range $name, $value := omit (include "lambda-builder.effectiveConfig" . | fromJson) "port" "ceOverrides" -}}
{{- if kindIs "slice" $value }}
{{- $value = join "," $value -}}
{{- else if not (kindIs "string" $value) }}
{{- $value = toJson $value -}}
{{- end -}}
{{- if ne $value "" }}
LAMBDA_BUILDER_{{ snakecase $name | upper }}: {{ $value | quote }}
{{- end -}}
{{- end -}}
{{- if .Values.config.ceOverrides.extensions }}
K_CE_OVERRIDES: {{ .Values.config.ceOverrides | toJson | quote }}
{{- end -}}
{{- end -}}

{{/* The address of the shared journal, as a list of `env` entries. libpq's own variables give way to
     what the URL says. */}}
{{- define "lambda-builder.databaseEnv" -}}
{{- if eq (include "lambda-builder.storage" .) "postgres" -}}
{{- with .Values.journal.postgres -}}
- name: LAMBDA_BUILDER_JOURNAL_URL
  valueFrom:
    secretKeyRef:
      name: {{ .secret }}
      key: {{ .urlKey | quote }}
{{- if .passwordKey }}
- name: LAMBDA_BUILDER_JOURNAL_PASSWORD_FILE
  value: /etc/lambda-builder-database/password
{{- end }}
{{- if .rootCertificate.secret }}
- name: PGSSLROOTCERT
  value: /etc/lambda-builder-database/ca.crt
- name: PGSSLMODE
  value: verify-full
{{- end }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What of the database is mounted, as a list of a projected volume's sources. */}}
{{- define "lambda-builder.databaseFiles" -}}
{{- if eq (include "lambda-builder.storage" .) "postgres" -}}
{{- with .Values.journal.postgres -}}
{{- if .passwordKey }}
- secret:
    name: {{ .secret }}
    items:
      - key: {{ .passwordKey | quote }}
        path: password
{{- end }}
{{- if .rootCertificate.secret }}
- secret:
    name: {{ .rootCertificate.secret }}
    items:
      - key: {{ .rootCertificate.key | quote }}
        path: ca.crt
{{- end }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* OTEL_* as a list of `env` entries; nothing without an endpoint. */}}
{{- define "lambda-builder.otelEnv" -}}
{{- with .Values.otel -}}
{{- if .endpoint }}
- name: OTEL_SERVICE_NAME
  value: {{ default (include "lambda-builder.fullname" $) .serviceName | quote }}
- name: OTEL_TRACES_EXPORTER
  value: otlp
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ .endpoint | quote }}
- name: OTEL_EXPORTER_OTLP_PROTOCOL
  value: http/protobuf
- name: OTEL_RESOURCE_ATTRIBUTES
  value: {{ include "lambda-builder.resourceAttributes" $ | quote }}
{{- if .sampler }}
- name: OTEL_TRACES_SAMPLER
  value: {{ .sampler | quote }}
{{- end }}
{{- if .samplerArg }}
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ .samplerArg | quote }}
{{- end }}
{{- if .headersSecret.name }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom:
    secretKeyRef:
      name: {{ .headersSecret.name }}
      key: {{ .headersSecret.key }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "lambda-builder.resourceAttributes" -}}
{{- $attributes := dict "k8s.namespace.name" .Release.Namespace "service.version" .Chart.AppVersion -}}
{{- $pairs := list -}}
{{- range $name, $value := mergeOverwrite $attributes .Values.otel.resourceAttributes -}}
{{- $pairs = append $pairs (printf "%s=%s" $name $value) -}}
{{- end -}}
{{- join "," $pairs -}}
{{- end -}}

{{/* Values that are each fine and do not go together. */}}
{{- define "lambda-builder.validate" -}}
{{- $storage := include "lambda-builder.storage" . -}}
{{- $least := include "lambda-builder.leastGracePeriod" . | int -}}
{{- $graceful := include "lambda-builder.gracefulSeconds" . | int -}}
{{- if eq (include "lambda-builder.buildNamespace" .) .Release.Namespace -}}
{{- fail (printf "build.namespace must not be the release's own namespace (%s): builds need the pod security level baseline, the service runs under restricted; choose another for one of them" .Release.Namespace) -}}
{{- end -}}
{{- if eq .Values.mode "knative" -}}
{{- if eq $storage "volume" -}}
{{- fail "journal.storage volume needs mode deployment: a pod behind Knative has no volume claim; use emptyDir" -}}
{{- end -}}
{{- if .Values.autoscaling.enabled -}}
{{- fail "autoscaling is for mode deployment; behind Knative it is knative.minScale and knative.maxScale" -}}
{{- end -}}
{{- if lt (.Values.knative.timeoutSeconds | int) (add 30 $graceful 2 | int) -}}
{{- fail (printf "knative.timeoutSeconds must be at least %d: Knative holds SIGTERM back for 30 s, and the service takes up to %d s to stop" (add 30 $graceful 2) $graceful) -}}
{{- end -}}
{{- if gt (.Values.knative.minScale | int) (.Values.knative.maxScale | int) -}}
{{- fail "knative.maxScale must be at least knative.minScale" -}}
{{- end -}}
{{- else -}}
{{- if and .Values.autoscaling.enabled (eq $storage "volume") -}}
{{- fail "autoscaling needs journal.storage postgres or emptyDir: a volume that scales away strands its builds" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (.Values.autoscaling.minReplicas | int) (.Values.autoscaling.maxReplicas | int)) -}}
{{- fail "autoscaling.maxReplicas must be at least autoscaling.minReplicas" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (eq .Values.autoscaling.kind "ScaledObject") (not .Values.autoscaling.prometheusUrl) -}}
{{- fail "autoscaling.kind ScaledObject needs autoscaling.prometheusUrl: the Prometheus that scrapes the replicas" -}}
{{- end -}}
{{- with .Values.terminationGracePeriodSeconds -}}
{{- if lt (int .) $least -}}
{{- fail (printf "terminationGracePeriodSeconds must be at least %d: %v s of preStop and up to %d s to stop" $least ($.Values.preStopSeconds | toJson) $graceful) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if eq $storage "postgres" -}}
{{- if not .Values.journal.postgres.secret -}}
{{- fail "journal.storage postgres needs journal.postgres.secret: a Secret with the URL of the database" -}}
{{- end -}}
{{- if .Values.config.journalPath -}}
{{- fail "config.journalPath and journal.storage postgres are two answers to one question; set one" -}}
{{- end -}}
{{- else if .Values.journal.postgres.secret -}}
{{- fail (printf "journal.postgres is for journal.storage postgres, which is %s" $storage) -}}
{{- end -}}
{{- if and .Values.sinkBinding.enabled (or .Values.config.sinkUrl .Values.config.ceOverrides.extensions) -}}
{{- fail "config.sinkUrl and config.ceOverrides would override what the SinkBinding injects; use sinkBinding.sink and sinkBinding.ceOverrides" -}}
{{- end -}}
{{- if and .Values.jobTemplate .Values.config.jobTemplate -}}
{{- fail "jobTemplate and config.jobTemplate are two answers to one question; set one" -}}
{{- end -}}
{{- if and .Values.provenance.keySecret.name (not .Values.config.provenanceBuilderId) -}}
{{- fail "provenance.keySecret needs config.provenanceBuilderId: a URI that names this service" -}}
{{- end -}}
{{- if and .Values.provenance.keySecret.name .Values.config.provenanceKeyFile -}}
{{- fail "provenance.keySecret and config.provenanceKeyFile are two answers to one question; set one" -}}
{{- end -}}
{{- if and .Values.otel.samplerArg (not .Values.otel.sampler) -}}
{{- fail "otel.samplerArg needs otel.sampler" -}}
{{- end -}}
{{- end -}}

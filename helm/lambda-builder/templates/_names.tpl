{{/* Names, labels and addresses. */}}

{{- define "lambda-builder.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 50 characters: a StatefulSet, a revision and their pods append to it. */}}
{{- define "lambda-builder.fullname" -}}
{{- $name := include "lambda-builder.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "lambda-builder.selectorLabels" -}}
app.kubernetes.io/name: {{ include "lambda-builder.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "lambda-builder.labels" -}}
{{ include "lambda-builder.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: lambda-builder
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
{{- end -}}

{{- define "lambda-builder.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "lambda-builder.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "lambda-builder.buildNamespace" -}}
{{- default .Values.build.namespace .Values.config.namespace -}}
{{- end -}}

{{- define "lambda-builder.buildServiceAccountName" -}}
{{- $own := ternary (printf "%s-build" (include "lambda-builder.fullname" .)) "" .Values.build.serviceAccount.create -}}
{{- default (default $own .Values.build.serviceAccount.name) .Values.config.serviceAccount -}}
{{- end -}}

{{/* "true", or empty. */}}
{{- define "lambda-builder.triggersEnabled" -}}
{{- $enabled := .Values.triggers.enabled -}}
{{- if kindIs "invalid" $enabled -}}
{{- $enabled = eq .Values.mode "knative" -}}
{{- end -}}
{{- if $enabled }}true{{ end -}}
{{- end -}}

{{- define "lambda-builder.brokerName" -}}
{{- default (include "lambda-builder.fullname" .) .Values.broker.name -}}
{{- end -}}

{{- define "lambda-builder.brokerNamespace" -}}
{{- default .Release.Namespace .Values.broker.namespace -}}
{{- end -}}

{{- define "lambda-builder.brokerUrl" -}}
{{- $name := include "lambda-builder.brokerName" . -}}
{{- $namespace := include "lambda-builder.brokerNamespace" . -}}
{{- $domain := .Values.clusterDomain -}}
{{- if .Values.broker.url -}}
{{- .Values.broker.url -}}
{{- else if eq .Values.broker.class "RabbitMQBroker" -}}
{{- printf "http://%s-broker-ingress.%s.svc.%s" $name $namespace $domain -}}
{{- else if eq .Values.broker.class "Kafka" -}}
{{- printf "http://kafka-broker-ingress.knative-eventing.svc.%s/%s/%s" $domain $namespace $name -}}
{{- else if eq .Values.broker.class "KafkaNamespaced" -}}
{{- printf "http://kafka-broker-ingress.%s.svc.%s/%s/%s" $namespace $domain $namespace $name -}}
{{- else -}}
{{- printf "http://broker-ingress.knative-eventing.svc.%s/%s/%s" $domain $namespace $name -}}
{{- end -}}
{{- end -}}

{{- define "lambda-builder.serviceUrl" -}}
{{- printf "http://%s.%s.svc.%s:%v/events" (include "lambda-builder.fullname" .) .Release.Namespace .Values.clusterDomain (.Values.service.port | toJson) -}}
{{- end -}}

{{- define "lambda-builder.brokerRef" -}}
apiVersion: eventing.knative.dev/v1
kind: Broker
name: {{ include "lambda-builder.brokerName" . }}
namespace: {{ include "lambda-builder.brokerNamespace" . }}
{{- end -}}

{{/* What a Trigger or a SinkBinding points at. */}}
{{- define "lambda-builder.selfRef" -}}
apiVersion: {{ ternary "serving.knative.dev/v1" "v1" (eq .Values.mode "knative") }}
kind: Service
name: {{ include "lambda-builder.fullname" . }}
{{- end -}}

{{- define "lambda-builder.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Seconds, rounded down, that a delivery is tried for: backoffDelay, doubled each time or not. */}}
{{- define "lambda-builder.deliverySeconds" -}}
{{- $delivery := .Values.triggers.delivery -}}
{{- $unit := dict "S" 1 "M" 60 "H" 3600 -}}
{{- $last := $delivery.backoffDelay | trimAll " " -}}
{{- $factor := get $unit ($last | substr (sub (len $last) 1 | int) (len $last)) -}}
{{- $delay := mulf (regexFind "[0-9.]+" $last | float64) $factor -}}
{{- $times := $delivery.retry | float64 -}}
{{- if eq $delivery.backoffPolicy "exponential" -}}
{{- $times = 0.0 -}}
{{- $step := 1.0 -}}
{{- range until ($delivery.retry | int) -}}
{{- $times = addf $times $step -}}
{{- $step = mulf $step 2 -}}
{{- end -}}
{{- end -}}
{{- mulf $delay $times | floor | int -}}
{{- end -}}

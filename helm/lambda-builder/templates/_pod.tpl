{{/* The service's container and its volumes, the same behind Knative and without. */}}

{{/* Everything that Pod Security `restricted` asks of a container, so that it holds where the
     pod's own securityContext is not to be had (Knative). */}}
{{- define "lambda-builder.containerSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop:
    - ALL
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "lambda-builder.container" -}}
name: lambda-builder
image: {{ include "lambda-builder.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
envFrom:
  - configMapRef:
      name: {{ include "lambda-builder.fullname" . }}
env:
  {{- if eq .Values.mode "deployment" }}
  - name: PORT
    value: {{ .Values.config.port | toJson | quote }}
  {{- end }}
  # The root filesystem is read-only; gunicorn's heartbeat file wants memory, not a disk.
  - name: GUNICORN_CMD_ARGS
    value: --worker-tmp-dir=/tmp
  {{- with include "lambda-builder.databaseEnv" . }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with include "lambda-builder.otelEnv" . }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
securityContext:
  {{- include "lambda-builder.containerSecurity" . | nindent 2 }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
  {{- if has (include "lambda-builder.storage" .) (list "volume" "emptyDir") }}
  - name: journal
    mountPath: /var/lib/lambda-builder
  {{- end }}
  {{- if include "lambda-builder.databaseFiles" . }}
  # Not by subPath, which would keep the password of the start.
  - name: database
    mountPath: /etc/lambda-builder-database
    readOnly: true
  {{- end }}
  {{- if .Values.jobTemplate }}
  - name: job-template
    mountPath: /etc/lambda-builder
    readOnly: true
  {{- end }}
  {{- if .Values.auth.secret }}
  - name: auth
    mountPath: /etc/lambda-builder-auth
    readOnly: true
  {{- end }}
  {{- if .Values.provenance.keySecret.name }}
  - name: provenance-key
    mountPath: /etc/lambda-builder-provenance
    readOnly: true
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "lambda-builder.volumes" -}}
- name: tmp
  emptyDir:
    medium: Memory
    sizeLimit: 64Mi
{{- if eq (include "lambda-builder.storage" .) "emptyDir" }}
# Without a sizeLimit: over it the kubelet evicts the pod, where a full disk is only refused.
- name: journal
  emptyDir: {}
{{- end }}
{{- with include "lambda-builder.databaseFiles" . }}
- name: database
  projected:
    sources:
      {{- . | nindent 6 }}
{{- end }}
{{- if .Values.jobTemplate }}
- name: job-template
  configMap:
    name: {{ include "lambda-builder.fullname" . }}-job-template
{{- end }}
{{- with .Values.auth.secret }}
- name: auth
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- if .Values.provenance.keySecret.name }}
- name: provenance-key
  secret:
    secretName: {{ .Values.provenance.keySecret.name }}
    items:
      - key: {{ .Values.provenance.keySecret.key | quote }}
        path: key.pem
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "lambda-builder.checksums" -}}
checksum/config: {{ printf "%s%s" (include "lambda-builder.environment" .) .Values.jobTemplate | sha256sum }}
{{- end -}}

{{- define "lambda-builder.scheduling" -}}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Pod template of mode deployment. */}}
{{- define "lambda-builder.podTemplate" -}}
metadata:
  labels:
    {{- include "lambda-builder.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    kubectl.kubernetes.io/default-container: lambda-builder
    {{- include "lambda-builder.checksums" . | nindent 4 }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "lambda-builder.serviceAccountName" . }}
  automountServiceAccountToken: true
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ default (add 5 (include "lambda-builder.leastGracePeriod" . | int)) .Values.terminationGracePeriodSeconds }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with include "lambda-builder.scheduling" . }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- if and .Values.topologySpread.enabled .Values.topologySpread.topologyKeys }}
  topologySpreadConstraints:
    {{- range .Values.topologySpread.topologyKeys }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: {{ $.Values.topologySpread.whenUnsatisfiable }}
      labelSelector:
        matchLabels:
          {{- include "lambda-builder.selectorLabels" $ | nindent 10 }}
    {{- end }}
  {{- end }}
  containers:
    - {{- include "lambda-builder.container" . | nindent 6 }}
      ports:
        - name: http
          containerPort: {{ .Values.config.port | toJson }}
      {{- if gt (.Values.preStopSeconds | int) 0 }}
      lifecycle:
        preStop:
          sleep:
            seconds: {{ .Values.preStopSeconds }}
      {{- end }}
      startupProbe:
        httpGet:
          path: /health
          port: http
        periodSeconds: 1
        timeoutSeconds: 2
        failureThreshold: 60
      livenessProbe:
        httpGet:
          path: /health
          port: http
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet:
          path: /ready
          port: http
        periodSeconds: 5
        timeoutSeconds: 3
        failureThreshold: 2
  volumes:
    {{- include "lambda-builder.volumes" . | nindent 4 }}
{{- end -}}

{{/* How replicas come and go, whoever scales them. */}}
{{- define "lambda-builder.scalingBehavior" -}}
scaleDown:
  # Each pod that goes hands its builds on: rather one too many for a while.
  stabilizationWindowSeconds: 300
  policies:
    - type: Pods
      value: 1
      periodSeconds: 60
{{- end -}}

{{/* The rule that lets pods resolve names: takes {namespace, cidrs, ports}. */}}
{{- define "lambda-builder.dnsEgress" -}}
- to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: {{ .namespace }}
    {{- range .cidrs }}
    - ipBlock:
        cidr: {{ . }}
    {{- end }}
  ports:
    {{- range .ports }}
    - protocol: UDP
      port: {{ . | toJson }}
    - protocol: TCP
      port: {{ . | toJson }}
    {{- end }}
{{- end -}}

{{/* Every call that the service makes to the API, as Role rules: nothing else is allowed, and all
     of it in the build namespace. A test compares this with the calls recorded at the embedded
     cluster. */}}
{{- define "lambda-builder.rules" -}}
- apiGroups: [batch]
  resources: [jobs]
  verbs: [create, delete, get, list, patch, watch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
- apiGroups: [""]
  resources: [events]
  verbs: [list]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create, get, update]
{{- end -}}

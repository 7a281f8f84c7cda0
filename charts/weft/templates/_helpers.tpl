{{/* What cluster-scoped objects are called: by the release, so that two can stand side by side. */}}
{{- define "weft.clusterName" -}}
weft-operator:{{ .Release.Namespace }}:{{ .Release.Name }}
{{- end }}

{{- define "weft.selector" -}}
app.kubernetes.io/name: weft-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "weft.labels" -}}
{{ include "weft.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "weft.labelsFor" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* An image's reference, from the registry that the values name, if they name one. */}}
{{- define "weft.image" -}}
{{- $registry := .root.Values.registry | trimSuffix "/" -}}
{{- $parts := splitList "/" .image -}}
{{- $first := first $parts -}}
{{- if and $registry (or (contains "." $first) (contains ":" $first) (eq $first "localhost")) (gt (len $parts) 1) -}}
{{- printf "%s/%s" $registry (join "/" (rest $parts)) -}}
{{- else if $registry -}}
{{- printf "%s/%s" $registry .image -}}
{{- else -}}
{{- .image -}}
{{- end -}}
{{- end }}

{{/* The operator's own image. */}}
{{- define "weft.operatorImage" -}}
{{- include "weft.image" (dict "root" . "image" (printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag))) -}}
{{- end }}

{{/* What the operator reads: the release and what it was installed with. */}}
{{- define "weft.installation" -}}
{{- $root := . -}}
release: {{ .Release.Name | quote }}
namespace: {{ .Release.Namespace | quote }}
versions:
  {{- range $version, $images := .Values.versions }}
  {{ $version | quote }}:
    {{- range $service, $image := $images }}
    {{ $service }}: {{ include "weft.image" (dict "root" $root "image" $image) }}
    {{- end }}
  {{- end }}
stores:
  {{- range $store, $values := .Values.stores }}
  {{ $store }}: {{- toYaml (merge (dict "image" (include "weft.image" (dict "root" $root "image" $values.image))) $values) | nindent 4 }}
  {{- end }}
tracing:
  jaeger:
    image: {{ include "weft.image" (dict "root" $root "image" .Values.tracing.jaeger.image) }}
    major: {{ .Values.tracing.jaeger.major }}
{{- with .Values.stacks.imagePullSecrets }}
pullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.monitoring.namespaces }}
monitoringNamespaces: {{- toYaml . | nindent 2 }}
{{- end }}
watch: {{- toYaml .Values.watch | nindent 2 }}
{{- end }}

{{/* What the operator may do in the namespaces that it looks after, and why. */}}
{{- define "weft.rules" -}}
# Stacks are never written: the spec is the user's.
- apiGroups: [weft.dev]
  resources: [stacks]
  verbs:
  - get       # is it still this one? Asked before its status, or the owner of its data, is written
  - list      # which Stacks there are
  - watch     # what is asked of them now
- apiGroups: [weft.dev]
  resources: [stacks/status]
  verbs:
  - patch     # how far each Stack is: the status is ours to write
# What a Stack runs.
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs:
  - get       # is a name taken by somebody else?
  - list      # what there is when the operator starts
  - watch     # what was changed or deleted by hand is put back; how far a rollout is
  - create    # server-side apply of what is not there yet
  - patch     # server-side apply of what is there
  - delete    # what the Stack no longer asks for
- apiGroups: [""]
  resources: [services, serviceaccounts, configmaps]
  verbs:
  - get       # is a name taken by somebody else? And the ConfigMaps that mail.templates and envFrom of a Stack name
  - list      # what there is when the operator starts
  - watch     # what was changed or deleted by hand is put back
  - create    # server-side apply of what is not there yet
  - patch     # server-side apply of what is there
  - delete    # what the Stack no longer asks for
# Who reaches whom inside a Stack, and its one origin.
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies, ingresses]
  verbs:
  - get       # is a name taken by somebody else?
  - list      # what there is when the operator starts
  - watch     # what was changed or deleted by hand is put back
  - create    # server-side apply of what is not there yet
  - patch     # server-side apply of what is there
  - delete    # what the Stack no longer asks for
# How many pods a drained node may take away.
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs:
  - get       # is a name taken by somebody else?
  - list      # what there is when the operator starts
  - watch     # what was changed or deleted by hand is put back
  - create    # server-side apply of what is not there yet
  - patch     # server-side apply of what is there
  - delete    # what the Stack no longer asks for
# How many pods there are under load.
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs:
  - get       # is a name taken by somebody else?
  - list      # what there is when the operator starts
  - watch     # what was changed or deleted by hand is put back
  - create    # server-side apply of what is not there yet
  - patch     # server-side apply of what is there
  - delete    # what the Stack no longer asks for
# Secrets that the operator makes, by name. Those with passwords are made once. That of a managed store's service
# is written again where rotatedAt asks for it, or where an earlier operator gave the service the superuser.
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [mongodb, mongodb-external, mongodb-next, mongodb-superuser, postgres, postgres-external, postgres-next, postgres-superuser, rabbitmq, rabbitmq-external, rabbitmq-next, rabbitmq-superuser, weft-authentication]
  verbs:
  - list      # which of them there are when the operator starts
  - watch     # a deleted one is noticed, a changed one rolls the pods that use it
  - patch     # a URI that is made from the parts in a user's Secret; the next user of a managed store takes over; the Stack's owner reference; weft.dev/first-user
  - delete    # such a URI, when the Stack no longer asks for it; what was written down of a next user, once it has taken over
- apiGroups: [""]
  resources: [secrets]
  verbs:
  - get       # those that a Stack names (external.secretRef, admin.secretRef), which may have any name, and <stack>-admin
  - create    # passwords of managed stores and of the first user, authentication's encryption key; a right to create can't be bound to names
# The volumes of stores, and no others. They are never deleted.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  resourceNames: [data-mongodb-0, data-postgres-0, data-rabbitmq-0]
  verbs:
  - get       # is there data from before? Then no new password is made for it
  - patch     # the Stack's owner reference, while deletionPolicy and its annotation ask for it; weft.dev/left after a switch to an external store
# What makes and takes away the users of managed stores.
- apiGroups: [batch]
  resources: [jobs]
  verbs:
  - get       # is a name taken by somebody else?
  - list      # what there is when the operator starts
  - watch     # whether one is done
  - create    # server-side apply of what is not there yet
  - patch     # its labels and owner: what a Job does can't be changed
  - delete    # one that is of no more use, and its pod
# The pod templates that a Stack last rolled to.
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs:
  - get       # is a name taken by somebody else?
  - list      # what there is when the operator starts
  - watch     # what was changed or deleted by hand is put back
  - create    # a template that is kept for the first time
  - patch     # its labels and owner: a revision's data can't be changed
  - delete    # the one before: what can't be changed is made anew
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs:
  - create    # what has changed is told as Events of the Stack
- apiGroups: [""]
  resources: [pods]
  verbs:
  - list      # what keeps a pod from starting is said in the status; at its address a service says how its store is
{{- end }}
